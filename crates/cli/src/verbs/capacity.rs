//! `accelnet capacity`: of the cluster, by its server; of a file, by the same rules here.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use accelnet_api::json;
use accelnet_model::{Code, Problem, problem::exit};
use accelnet_rules::capacity::{CapacityFile, CapacityReport};

use crate::{
    args::Format,
    call::{Call, Ended},
    output::{self, capacity as tables, printable},
};

/// 200,000 VMs take about 30 MiB; what is longer than this is no question about a cluster.
const INPUT_LIMIT_BYTES: u64 = 256 << 20;

/// Room in the cluster, and who would go where without some nodes.
pub async fn of_cluster(call: &Call, without: &[String]) -> Ended {
    let capacity = call.client.capacity(without).await?;
    output::print(call.format, &capacity, tables::cluster);
    Ok(exit::OK)
}

/// Room in the cluster that a file describes. No server is asked.
pub fn of_file(format: Format, path: &Path) -> Ended {
    let report = answer(&read(path)?)?;
    output::print(format, &report, tables::report);
    // VMs without room are part of the answer.
    Ok(exit::OK)
}

fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    let name = if path == Path::new("-") {
        "Standard input".to_owned()
    } else {
        printable(&path.to_string_lossy())
    };
    let unreadable = |error: io::Error| {
        let text = format!("{name} cannot be read: {error}.");
        Problem::new(Code::InvalidArgument, text)
    };
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        let input = io::stdin().lock();
        input.take(INPUT_LIMIT_BYTES + 1).read_to_end(&mut bytes)
    } else {
        let file = File::open(path).map_err(unreadable)?;
        file.take(INPUT_LIMIT_BYTES + 1).read_to_end(&mut bytes)
    };
    read.map_err(unreadable)?;
    if bytes.len() as u64 > INPUT_LIMIT_BYTES {
        let text = format!("{name} is longer than {INPUT_LIMIT_BYTES} bytes.");
        return Err(Problem::new(Code::InvalidArgument, text));
    }
    Ok(bytes)
}

/// The answer to a question as bytes.
fn answer(bytes: &[u8]) -> Result<CapacityReport, Problem> {
    let file: CapacityFile = json::read(bytes).map_err(|refusal| {
        let text = printable(&refusal.to_string());
        let invalid = |text| Problem::new(Code::InvalidArgument, text);
        match refusal.field {
            Some(field) => invalid(format!("{text}.")).about("field", field),
            None => invalid(format!("The question cannot be understood: {text}.")),
        }
        .with_cure("Correct it; docs/reference/capacity.md has the format.")
    })?;
    file.answer()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_cannot_be_read_is_told_with_its_field() {
        let adapter = |adapter: &str| {
            format!(r#"{{"nodes":[{{"name":"n","adapters":[{{"name":"p",{adapter}}}]}}]}}"#)
        };
        for (question, words) in [
            (
                r#"{"nodes":[],"wms":[]}"#.to_owned(),
                "wms: there is no such field",
            ),
            (
                r#"{"nodes":[],"nodes":[]}"#.to_owned(),
                "'nodes' is there twice",
            ),
            (r#"{}"#.to_owned(), "nodes: it is missing"),
            (
                adapter(r#""vfs":-1,"queue_pairs_total":1"#),
                "nodes[0].adapters[0].vfs: ",
            ),
            (
                adapter(r#""vfs":1.5,"queue_pairs_total":1"#),
                "nodes[0].adapters[0].vfs: ",
            ),
            (
                adapter(r#""vfs":1,"queue_pairs_total":"1""#),
                "nodes[0].adapters[0].queue_pairs_total: ",
            ),
            (
                adapter(r#""vfs":1,"queue_pairs":1"#),
                "nodes[0].adapters[0].queue_pairs: there is no such field",
            ),
            (adapter(r#""vfs":1"#), "nodes[0].adapters[0]: "),
            (
                r#"{"nodes":[],"vms":[{"name":"v","level":"Turbo"}]}"#.to_owned(),
                "vms[0].level: ",
            ),
            (
                r#"{"nodes":[],"node_reserve_percentage":3.5}"#.to_owned(),
                "node_reserve_percentage: ",
            ),
            (
                r#"{"nodes":[],"node_reserve_percentage":100}"#.to_owned(),
                "node_reserve_percentage: ",
            ),
            (r#"{"nodes":[]} x"#.to_owned(), "trailing characters"),
            ("{\"nodes\":\u{1b}".to_owned(), "cannot be understood"),
            (String::new(), "cannot be understood"),
            ("{\"nodes\":".repeat(100_000), "recursion limit"),
            (
                r#"[50,[],[],[],[]]"#.to_owned(),
                "an object is wanted, a list was given",
            ),
            (
                r#"{"nodes":[["n",[]]]}"#.to_owned(),
                "nodes[0]: an object is wanted",
            ),
            (
                r#"{"nodes":[{"name":"n","adapters":[["p",1,1,null]]}]}"#.to_owned(),
                "nodes[0].adapters[0]: an object is wanted",
            ),
            (
                r#"{"nodes":[],"add":[["v","Low",1,null,null]]}"#.to_owned(),
                "add[0]: an object is wanted",
            ),
        ] {
            let problem = answer(question.as_bytes()).unwrap_err();
            let detail = &problem.detail;
            assert!(detail.contains(words), "{words}: {detail}");
            assert!(!detail.chars().any(char::is_control), "{detail:?}");
        }
        let broken = answer(b"{\"nodes\":[{\"name\":\"\xff\"}]}").unwrap_err();
        assert_eq!(broken.code, Code::InvalidArgument);
    }

    /// Values that a field may be given, most of them wrong.
    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            Just(json!(u64::MAX)),
            (0..3_u32).prop_map(Value::from),
            ".{0,6}".prop_map(Value::from),
            prop::sample::select(vec!["n1", "p0", "v1", "Low", "high", "-", "\0"])
                .prop_map(Value::from),
            Just(json!([])),
            Just(json!({})),
            Just(json!(["n1", "n1"])),
        ]
    }

    /// Every field of a question, as a pointer.
    fn fields() -> Vec<&'static str> {
        vec![
            "/node_reserve_percentage",
            "/down",
            "/down/0",
            "/nodes",
            "/nodes/0",
            "/nodes/0/name",
            "/nodes/1/name",
            "/nodes/0/adapters",
            "/nodes/0/adapters/0/name",
            "/nodes/0/adapters/0/vfs",
            "/nodes/0/adapters/0/queue_pairs_total",
            "/nodes/1/adapters/0/queue_pairs_per_vf",
            "/vms",
            "/vms/0/name",
            "/vms/0/level",
            "/vms/0/nics",
            "/vms/0/node",
            "/vms/0/adapters",
            "/vms/0/adapters/0",
            "/add",
            "/add/0/name",
            "/add/0/level",
            "/add/0/nics",
        ]
    }

    fn question() -> Value {
        json!({"node_reserve_percentage": 50, "down": ["n2"],
            "nodes": [
                {"name": "n1", "adapters": [{"name": "p0", "vfs": 4, "queue_pairs_total": 9}]},
                {"name": "n2", "adapters": [{"name": "p0", "vfs": 4, "queue_pairs_per_vf": 2}]}],
            "vms": [{"name": "v1", "level": "Low", "nics": 1, "node": "n1", "adapters": ["p0"]}],
            "add": [{"name": "v2", "level": "Medium", "nics": 2}]})
    }

    #[test]
    fn the_question_that_is_spoilt_below_is_a_good_one() {
        assert_eq!(
            answer(question().to_string().as_bytes()).unwrap().admitted,
            ["v2"]
        );
        for field in fields() {
            assert!(question().pointer(field).is_some(), "{field}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

        /// Whatever is asked, there is an answer or a problem that can be shown; nothing panics.
        #[test]
        fn any_question_has_an_end(
            changes in prop::collection::vec((prop::sample::select(fields()), any_value()), 1..4),
        ) {
            let mut question = question();
            for (field, value) in changes {
                if let Some(there) = question.pointer_mut(field) {
                    *there = value;
                }
            }
            match answer(question.to_string().as_bytes()) {
                Ok(report) => drop(tables::report(&report)),
                Err(problem) => {
                    prop_assert!(matches!(problem.code, Code::InvalidArgument | Code::ReserveOutOfRange));
                    prop_assert!(!problem.detail.chars().any(char::is_control), "{:?}", problem);
                }
            }
        }

        #[test]
        fn any_bytes_have_an_end(
            bytes in prop::collection::vec(any::<u8>(), 0..40),
            at in 0..400_usize,
        ) {
            prop_assert!(answer(&bytes).is_err());
            let mut question = question().to_string().into_bytes();
            let at = at.min(question.len());
            let end = (at + bytes.len()).min(question.len());
            question.splice(at..end, bytes);
            drop(answer(&question));
        }
    }
}
