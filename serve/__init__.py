"""The service: avatars over HTTP, live in a browser, on Ray Serve."""
