"""/openapi.json, and /docs: Swagger UI, its files from the package `fastapi-swagger`: no outside host is asked."""

import hashlib

import msgspec
from fastapi import APIRouter, Depends, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from api import params
from api.answers import has

router = APIRouter(include_in_schema=False)

FILES_AT = "/docs/files"
files = StaticFiles(packages=[("fastapi_swagger", "resources")])
MAX_AGE_S = 300


@router.get("/openapi.json", dependencies=[Depends(params.takes_none)])
async def openapi(request: Request) -> Response:
    """The API's description, for programs."""
    body = msgspec.json.encode(request.app.openapi())
    tag = f'W/"{hashlib.blake2b(body, digest_size=9).hexdigest()}"'
    headers = {"etag": tag, "cache-control": f"public, max-age={MAX_AGE_S}"}
    if has(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


@router.get("/docs")
async def docs() -> HTMLResponse:
    """The API's documentation, to be tried out."""
    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="cityfeed API",
        swagger_js_url=f"{FILES_AT}/swagger-ui-bundle.js",
        swagger_css_url=f"{FILES_AT}/swagger-ui.css",
        swagger_favicon_url=f"{FILES_AT}/favicon-32x32.png",
        # Swagger UI shows a badge of an outside validator unless told not to.
        swagger_ui_parameters={"validatorUrl": None, "tryItOutEnabled": True, "displayRequestDuration": True},
    )
    return HTMLResponse(bytes(page.body).decode().replace("<html>", '<html lang="en">', 1))  # for screen readers
