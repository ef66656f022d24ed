"""Generated from proto/hmsact/v1 by `make proto`; never edited."""
