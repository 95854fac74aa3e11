"""Interbotix X-series arms: Dynamixel servos by protocol 2.0 on a serial port."""
