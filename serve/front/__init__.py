"""HTTP and WebSocket: what the world sees of the service. Imports neither torch nor Ray."""
