//! Names as PowerShell takes them: a name as it is written goes first; where there is none, upper and
//! lower case do not matter.

use accelnet_api::ClientError;

use super::Run;
use crate::select::are_alike;

/// The intent that a parameter names, by its own name. One that there is not is passed on as it was
/// written: the server says so.
pub async fn intent(run: &Run, parameter: &str) -> Result<Option<String>, ClientError> {
    let Some(given) = run.bound.text(parameter) else {
        return Ok(None);
    };
    let all = run.call.client.intents().await?.items;
    let names: Vec<&str> = all.iter().map(|one| one.intent.name.as_str()).collect();
    Ok(Some(as_written(given, &names).to_owned()))
}

fn as_written<'a>(given: &'a str, names: &[&'a str]) -> &'a str {
    let mut alike = names.iter().filter(|name| are_alike(name, given));
    match (alike.next(), alike.next()) {
        (Some(only), None) => only,
        _ => given,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_matters_only_where_it_tells_names_apart() {
        assert_eq!(as_written("COMPUTE", &["compute", "other"]), "compute");
        assert_eq!(as_written("Compute", &["compute", "Compute"]), "Compute");
        assert_eq!(as_written("COMPUTE", &["compute", "Compute"]), "COMPUTE");
        assert_eq!(as_written("nobody", &["compute"]), "nobody");
    }
}
