"""AgileX Piper on CAN: codec, bus, feedback, arming, driver."""
