"""The programs that work on this machine until they are stopped: `bizq dev`, with either runtime, and `bizq demo`."""
