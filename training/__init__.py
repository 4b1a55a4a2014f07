"""Offline work: from a table to a release."""

# Before ONNX Runtime is loaded anywhere here, it is told to report nothing.
import app as app
