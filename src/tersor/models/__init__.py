"""What a decoder's blocks are made of: linears, shared inputs, producer → consumer pairs.

    discovery     architectures without a description in ``tersor.families``, by name and shape
    metamodel     the same from the modules that transformers would build
    sizes         whether ``config.json`` makes the shapes that the weights have
    in_memory     what modules on disk are called in memory
    architecture  ``describe``: config and tensor names → ``Architecture``
    experts       fused expert tensors ↔ one matrix per expert
    channels      which rows of a producer feed which columns of a consumer
    pairs         where a per-channel scale can be folded in one block, with index tensors
    folding       the fold itself

Import from the modules; nothing is re-exported here.
"""
