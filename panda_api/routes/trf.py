"""Route of the transforms that stock pilots download, run and never cache: bare text."""

from typing import Annotated

from fastapi import APIRouter, Path, Response
from fastapi.responses import PlainTextResponse

from panda.errors import NotFound
from panda_api import transforms
from panda_api.body import WireRoute
from panda_api.errors import answer_to
from panda_api.security import Identity, Policy, permit

ENVELOPE = {"$ref": "#/components/schemas/Envelope"}


class ProgramText(PlainTextResponse):
    """The text of a program."""

    media_type = "text/x-python"


router = APIRouter(prefix="/trf/user", tags=["trf"], route_class=WireRoute)


@router.get(
    "/{name}",
    response_class=ProgramText,
    responses={404: {"content": {"application/json": {"schema": ENVELOPE}}, "description": "No such transform."}},
)
def transform(
    name: Annotated[str, Path(max_length=255)], _caller: Annotated[Identity, permit(Policy.READ_TOPOLOGY)]
) -> Response:
    """A program; it reads its arguments in the job's parameters."""
    try:
        return ProgramText(transforms.program(name))
    except NotFound as missing:
        answer = answer_to("/trf", missing)
        answer.status_code = 404
        return answer
