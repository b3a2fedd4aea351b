"""Families of models: what each one is, said once, as data.

   family    what a description consists of
   blocks    words for blocks: roles, shared inputs, fused experts
   gguf      words for what llama.cpp's converter did
   decoder   words for what the engine must know
   usual     parts that several families have
   known     the families, one a file
   registry  ``model_type`` or name in GGUF files → family

Quantizing, calibration, GGUF files and the engine read the same descriptions. Nothing here imports
torch or transformers.
"""
