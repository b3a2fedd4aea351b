"""Why and where something is lost: explain."""

from typing import Annotated

import typer

from tersor.cli.app import app
from tersor.cli.options import Json
from tersor.options import limits


@app.command()
def explain(
    values: Annotated[
        str,
        typer.Option(
            help="Numbers that share one scale: --values=-1.5,0,0.007,2.", show_default=False
        ),
    ],
    bits: Annotated[
        int, typer.Option(help="Bits of a code: 2, 3, 4, 5, 6 or 8.", callback=limits.BITS)
    ] = 8,
    asymmetric: Annotated[
        bool, typer.Option("--asymmetric/--symmetric", help="With a zero point, or without.")
    ] = False,
    scale: Annotated[
        str | None, typer.Option(help="Use this scale.", show_default="the values choose")
    ] = None,
    zero_point: Annotated[
        int | None,
        typer.Option(
            help="Use this signed zero point, beside --scale.", show_default="from the scale"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show how numbers become codes and come back: every formula with the numbers put in."""
    import tersor
    from tersor.cli.printing import explained

    found = tersor.explain(values, bits, asymmetric=asymmetric, scale=scale, zero_point=zero_point)
    explained.values(found, as_json)
