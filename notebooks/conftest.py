"""Under pytest the notebooks write to a folder of their own, not to the deck's `public`."""

import os
import tempfile

os.environ.setdefault("SDSCOPE_OUT", tempfile.mkdtemp(prefix="sdscope-"))
