//! Room for VMs, and where each could go.

#![allow(unused_qualifications, reason = "utoipa's macro writes them")]

use accelnet_api::{Capacity, VmPlaces};
use accelnet_model::Performance;
use axum::{Json, extract::State, response::Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Answer, Condition, Path, Query};
use crate::{Server, admission, apart::apart, failure::Failure, view};

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct Without {
    /// Nodes, divided by commas: also say what would become of VMs if they were down.
    without: Option<String>,
}

/// VFs and queue pairs, what the reserve holds back, and how many more VMs fit.
#[utoipa::path(get, path = "/capacity", tag = "cluster", params(Without),
    responses((status = 200, description = "The capacity", body = Capacity)))]
pub async fn show_capacity(
    State(server): State<Server>,
    condition: Condition,
    Query(query): Query<Without>,
) -> Result<Response, Failure> {
    let words = query.without.iter().flat_map(|names| names.split(','));
    let without: Vec<String> = words.map(str::to_owned).collect();
    let look = async {
        let (wish, seen) = (server.wish().await?, server.seen());
        apart(|| admission::capacity_of(&wish, &seen, &without))
    };
    condition.answer(look).await
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct Level {
    /// If left out: the VM's own level, or Medium if it has none.
    performance: Option<Performance>,
}

/// Nodes that could take a VM with its VFs now.
#[utoipa::path(get, path = "/vms/{vm}/where", tag = "vms",
    params(Level, ("vm" = String, Path, description = "Its name or UUID")),
    responses((status = 200, description = "Every node", body = VmPlaces)))]
pub async fn show_places(
    State(server): State<Server>,
    Path(vm): Path<String>,
    Query(query): Query<Level>,
) -> Answer<VmPlaces> {
    let (wish, seen) = (server.wish().await?, server.seen());
    let places = apart(|| {
        let vm = view::find(&wish, &seen, &vm)?;
        admission::places(&wish, &seen, &vm, query.performance)
    })?;
    Ok(Json(places))
}
