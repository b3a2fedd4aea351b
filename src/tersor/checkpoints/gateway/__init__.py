"""Everything that transformers reads of a checkpoint, read through here and nowhere else.

::

    codeless         what may run code, ask questions or fetch something is taken out first
    configuration    config.json → transformers' config
    models           config and weights → transformers' model
    tokenizer        tokenizer files → transformers' tokenizer
    generation       generation_config.json, checked field by field
    readable         the same two, before a model is quantized
    chat_template    messages → the text that a model was trained to see
    sandbox          where chat templates run, without transformers
    complaint        what transformers says of a file, in one line
    culprit          the field that it says it of

A checkpoint's own code is never run, and there is no switch for it. What names such code
(``auto_map``, ``custom_generate``) is not even shown to transformers, so that nothing can ask
whether to run it; types that transformers has itself load by transformers' own classes, others are
refused. Nothing is looked for on a hub. A test holds the rest of the source to this.
"""
