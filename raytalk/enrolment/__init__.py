"""A new person: photographs, a video or a clip become an avatar, for one person or a table of people."""
