"""An explanation as blocks of a page."""

from panda.domain.views.answers import Explanation
from panda_api.monitor.blocks import Block, Column, Prose, Table


def why(explanation: Explanation) -> list[Block]:
    """Sentences, and the candidates of brokerage where they matter."""
    blocks: list[Block] = [Prose("why", "Why it is where it is", explanation.lines)]
    if explanation.table is not None:
        names = explanation.table.columns
        columns = [Column(name, name, "long" if name == "why" else "text") for name in names]
        rows = [dict(zip(names, row, strict=True)) for row in explanation.table.rows]
        title = "What brokerage looked at" if names[0] == "candidate" else "What speaks for it"
        blocks.append(Table("candidates", title, columns, rows))
    return blocks
