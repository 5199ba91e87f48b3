"""What fine-tuning did to what a language model knows, and how to get it back.

Each stage of the work is a package of its own (``sftlens.facts``, ``sftlens.mastery``,
``sftlens.weights`` …); what it offers stands in its ``__init__``. Importing ``sftlens`` loads
none of them.
"""

__version__ = "0.1.0"
