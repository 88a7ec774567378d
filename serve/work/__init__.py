"""What is done to photographs, avatars and motions: each part a plain class that knows no HTTP and no Ray."""
