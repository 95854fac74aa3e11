"""Devices of real arms down to the bytes on their bus, with the simulated arm behind them."""
