"""What the service keeps, all of it in object storage: avatars, films, who did what. No torch, no HTTP."""
