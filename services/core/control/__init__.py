"""What the API does, in the domain's words: checks a request, writes the desired state, and leaves an operation behind.

Nothing here touches a machine. Each call is one transaction; the worker does the rest.
"""

from services.core.control.calls import Answer, Call, ModeRules, NewContents, Planned
from services.core.control.file_servers import Control

__all__ = ["Answer", "Call", "Control", "ModeRules", "NewContents", "Planned"]
