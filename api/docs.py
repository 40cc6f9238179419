"""/docs: Swagger UI, its files from the package `fastapi-swagger`, so that no outside host is asked."""

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

router = APIRouter(include_in_schema=False)

FILES_AT = "/docs/files"
files = StaticFiles(packages=[("fastapi_swagger", "resources")])


@router.get("/docs")
async def docs() -> HTMLResponse:
    """The API's documentation, to be tried out."""
    return get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="cityfeed API",
        swagger_js_url=f"{FILES_AT}/swagger-ui-bundle.js",
        swagger_css_url=f"{FILES_AT}/swagger-ui.css",
        swagger_favicon_url=f"{FILES_AT}/favicon-32x32.png",
        # Swagger UI shows a badge of an outside validator unless told not to.
        swagger_ui_parameters={"validatorUrl": None, "tryItOutEnabled": True, "displayRequestDuration": True},
    )
