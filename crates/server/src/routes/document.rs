//! The OpenAPI document: generated from routes and types.

use accelnet_api::{BASE, ProblemDocument};
use axum::Router;
use utoipa::{
    OpenApi,
    openapi::{ContentBuilder, Ref, ResponseBuilder, path::Operation},
};
use utoipa_axum::router::OpenApiRouter;

use crate::Server;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "accelnet",
        description = "Accelerated networking for KVM clusters.\n\nEvery error is \
                       application/problem+json: with status 400 what was sent has a wrong form (408, \
                       413, 414, 415 and 431 likewise), with 422 it has the right form and is refused, \
                       for reasons that are named. Whole numbers may be written as 2.0. Lists are {\"items\": […]}, with \
                       `next` if `limit` left some out. An answer with an `ETag` is 304 for whoever has it \
                       (`If-None-Match`). With `watch=true` an \
                       answer has no end: a line of JSON for each change, and one every few seconds \
                       in between; with `from` it goes on after a line's revision (410: start over). \
                       503 with `Retry-After` asks to ask again.\n\nOver a network it is TLS only, with the header `Authorization: Bearer TOKEN`; \
                       401 means that the token is missing or not accepted, 403 that its role is \
                       too low. The local socket needs none.",
        license(name = "Apache-2.0 OR MIT", identifier = "Apache-2.0 OR MIT")
    ),
    components(schemas(ProblemDocument))
)]
struct Document;

/// Routes below the API's path, and the document of them.
pub fn documented(api: OpenApiRouter<Server>) -> (Router<Server>, utoipa::openapi::OpenApi) {
    let router = OpenApiRouter::with_openapi(Document::openapi()).nest(BASE, api);
    let (router, mut document) = router.split_for_parts();
    for item in document.paths.paths.values_mut() {
        let operations = [
            &mut item.get,
            &mut item.put,
            &mut item.post,
            &mut item.patch,
            &mut item.delete,
        ];
        for operation in operations.into_iter().flatten() {
            add_problems(operation);
        }
    }
    (router, document)
}

/// Every operation can fail, and always in the same form.
fn add_problems(operation: &mut Operation) {
    let schema = Ref::from_schema_name("ProblemDocument");
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let problem = ResponseBuilder::new()
        .description("Refused or failed: all reasons, with cures. Nothing was changed.")
        .content("application/problem+json", content)
        .build();
    let responses = &mut operation.responses.responses;
    responses.insert("default".to_owned(), problem.into());
}

/// The OpenAPI document of what is served.
pub fn openapi() -> utoipa::openapi::OpenApi {
    documented(super::api()).1
}
