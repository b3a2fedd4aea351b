"""The best mixture of schemes within a budget, held against the uniform scheme of the same size.

goal     bits, bytes or a divergence
space    what there is to choose: matrices that share a choice, and schemes for them
mixture  a choice as a recipe
found    the result as a value
trial    a recipe carried out and measured on text that nothing was chosen by
search   from a goal to the artifact
"""
