"""BizQ Task Worker: gets universal tasks done by AI models and by people."""
