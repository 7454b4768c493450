"""The HTTP service around a bundle: schemas, authentication, recording, telemetry."""
