"""BizQ Task Worker: gets universal tasks done by AI models and by people."""

import os

# Pydantic would read the metadata of every installed package to find its plugins.  No plugin should change what we
# accept, and the search takes a tenth of the time that pydantic needs to start.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
