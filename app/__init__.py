"""The inference process."""

import os

# Read when ONNX Runtime loads: by itself it tells its maker about every process and keeps a number of the device below the home
# folder, https://github.com/microsoft/onnxruntime/blob/main/docs/Privacy.md.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
