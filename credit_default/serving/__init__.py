"""The HTTP service around a bundle: application and routes, access, recording, figures."""
