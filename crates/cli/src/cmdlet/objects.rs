//! Objects between cmdlets: JSON, one a line, where the output is no terminal; tables where it is.
//!
//! What is read may also be a document of `accelnet -o json`, or plain names, one a line. A cmdlet
//! that found nothing writes an empty line into a pipe: so the next one can tell "nothing was found"
//! from "nobody said anything", and does not take it for "all".

use std::{
    io::{IsTerminal, Read},
    os::fd::AsFd,
    os::unix::fs::FileTypeExt,
};

use accelnet_api::Vm;
use accelnet_model::{Code, NicPath, Problem, VmState};
use serde::Serialize;
use serde_json::Value;

use super::parse::shown;
use crate::{
    output::{self, tables},
    select::{lines, read_text},
};

/// About 200,000 VMs as `Get-VM` writes them.
const INPUT_LIMIT_BYTES: u64 = 64 << 20;

/// A VM, as `Get-VM` has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct VmObject {
    type_name: &'static str,
    #[serde(rename = "VMName")]
    vm_name: String,
    name: String,
    id: String,
    state: &'static str,
    computer_name: Option<String>,
    processor_count: u32,
}

impl From<&Vm> for VmObject {
    fn from(vm: &Vm) -> Self {
        Self {
            type_name: VM,
            vm_name: vm.name.clone(),
            name: vm.name.clone(),
            id: vm.uuid.to_string(),
            state: state(vm.state),
            computer_name: vm.node.as_ref().map(ToString::to_string),
            processor_count: vm.vcpus,
        }
    }
}

/// A VM that is wanted accelerated, as `Get-AccelNetVM` has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AcceleratedVm {
    type_name: &'static str,
    #[serde(rename = "VMName")]
    vm_name: String,
    id: String,
    computer_name: Option<String>,
    state: &'static str,
    performance: Option<String>,
    path: &'static str,
    problems: Vec<String>,
}

impl From<&Vm> for AcceleratedVm {
    fn from(vm: &Vm) -> Self {
        let mut paths: Vec<NicPath> = vm.nics.iter().map(|nic| nic.path).collect();
        paths.dedup();
        Self {
            type_name: ACCELERATED_VM,
            vm_name: vm.name.clone(),
            id: vm.uuid.to_string(),
            computer_name: vm.node.as_ref().map(ToString::to_string),
            state: state(vm.state),
            performance: vm.level.map(|level| level.to_string()),
            path: match paths.as_slice() {
                [] => path(NicPath::None),
                [one] => path(*one),
                _ => "mixed",
            },
            problems: vm
                .problems
                .iter()
                .map(|problem| problem.code.to_string())
                .collect(),
        }
    }
}

/// `TypeName` of VMs.
const VM: &str = "VM";
const ACCELERATED_VM: &str = "AccelNetVM";
/// `TypeName` of NICs, which name their VM too.
pub const NIC: &str = "VMNetworkAdapter";

/// A run state in the reference's words.
pub fn state(state: VmState) -> &'static str {
    match state {
        VmState::Running => "Running",
        VmState::Paused => "Paused",
        VmState::Off => "Off",
    }
}

/// A path as the API has it.
pub fn path(path: NicPath) -> &'static str {
    match path {
        NicPath::Vf => "vf",
        NicPath::Synthetic => "synthetic",
        NicPath::None => "none",
    }
}

/// Prints objects; a table has these of their fields.
pub fn print<T: Serialize>(objects: &[T], columns: &[&str]) {
    let values: Vec<Value> = objects
        .iter()
        .filter_map(|object| serde_json::to_value(object).ok())
        .collect();
    if std::io::stdout().is_terminal() {
        if !values.is_empty() {
            let rows = values.iter().map(|value| {
                let cells = columns.iter().map(|column| cell(&value[*column]));
                cells.collect()
            });
            let table = tables::rows(columns, rows.collect());
            output::raw(&format!("{table}\n"));
        }
        return;
    }
    let texts = objects
        .iter()
        .filter_map(|object| serde_json::to_string(object).ok());
    let text: String = texts
        .map(|text| format!("{}\n", output::document(&text)))
        .collect();
    if text.is_empty() && is_pipe(std::io::stdout().as_fd()) {
        output::raw("\n");
    } else {
        output::raw(&text);
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Array(values) => values.iter().map(cell).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

fn kind(fd: std::os::fd::BorrowedFd<'_>) -> Option<std::fs::FileType> {
    let file = std::fs::File::from(fd.try_clone_to_owned().ok()?);
    Some(file.metadata().ok()?.file_type())
}

fn is_pipe(fd: std::os::fd::BorrowedFd<'_>) -> bool {
    kind(fd).is_some_and(|kind| kind.is_fifo())
}

/// Standard input may carry objects: it is a pipe or, where VMs must come from somewhere, a file.
/// Terminals and `/dev/null` are not waited for, nor are sockets, which remote shells give to
/// commands that read nothing; and the file that a loop of the shell reads is not taken from it.
pub fn comes_piped(must: bool) -> bool {
    kind(std::io::stdin().as_fd())
        .is_some_and(|kind| kind.is_fifo() || must && (kind.is_file() || kind.is_dir()))
}

/// Names or UUIDs of the VMs that come through standard input; `None` if nobody wrote anything.
pub fn read_vms() -> Result<Option<Vec<String>>, Problem> {
    vms_of(std::io::stdin().lock())
}

fn vms_of(input: impl Read) -> Result<Option<Vec<String>>, Problem> {
    let text = read_text(input, INPUT_LIMIT_BYTES)?;
    if text.is_empty() {
        return Ok(None);
    }
    if !text.trim_start().starts_with(['{', '[', '"']) {
        return Ok(Some(lines(&text).collect()));
    }
    let mut names = Vec::new();
    for value in serde_json::Deserializer::from_str(&text).into_iter() {
        let value = value.map_err(|error| {
            let text = format!("The objects on standard input cannot be read: {error}.");
            let cure = "Give objects of another cmdlet, or names, one a line.";
            Problem::new(Code::InvalidArgument, text).with_cure(cure)
        })?;
        collect(value, &mut names)?;
    }
    Ok(Some(names))
}

/// The VM that a value names; lists name several.
fn collect(value: Value, names: &mut Vec<String>) -> Result<(), Problem> {
    match value {
        Value::String(name) => {
            names.push(name);
            return Ok(());
        }
        Value::Array(values) => return values.into_iter().try_for_each(|one| collect(one, names)),
        Value::Object(mut object) => {
            if let Some(Value::Array(items)) = object.remove("items") {
                return items.into_iter().try_for_each(|one| collect(one, names));
            }
            let field = |name: &str| {
                let mut fields = object.iter();
                let (_, value) = fields.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
                value.as_str().map(str::to_owned)
            };
            let kind = field("TypeName");
            let of_vm = kind.is_none_or(|kind| [VM, ACCELERATED_VM, NIC].contains(&kind.as_str()));
            // Identity first: names may be those of several.
            let mut keys = ["VMId", "Id", "uuid", "VMName", "Name"].into_iter();
            if let Some(name) = keys.find_map(field).filter(|_| of_vm) {
                names.push(name);
                return Ok(());
            }
            return Err(no_vm(&Value::Object(object)));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    Err(no_vm(&value))
}

fn no_vm(value: &Value) -> Problem {
    let text = format!(
        "An object on standard input is no VM: {}.",
        shown(&value.to_string())
    );
    let cure = "Pipe what Get-VM or Get-AccelNetVM prints, or names, one a line.";
    Problem::new(Code::InvalidArgument, text).with_cure(cure)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Vec<String>> {
        vms_of(text.as_bytes()).unwrap()
    }

    #[test]
    fn vms_come_as_objects_documents_or_names() {
        for text in [
            "{\"VMName\":\"a\",\"Id\":\"1\"}\n{\"VMName\":\"b\",\"Id\":\"2\"}\n",
            "\n{\"vmname\":\"a\",\"vmid\":\"1\",\"Name\":\"net0\"} {\"name\":\"b\",\"uuid\":\"2\"}",
            "{\"items\": [{\"name\": \"a\", \"uuid\": \"1\"},\n {\"uuid\": \"2\"}]}",
            "[\"1\", {\"Name\": \"2\"}]",
            "\"1\"\n\"2\"",
            "1\n\n2\r\n",
        ] {
            assert_eq!(read(text).unwrap(), ["1", "2"], "{text}");
        }
        assert_eq!(read(""), None, "nobody said anything");
        assert_eq!(read("\n"), Some(vec![]), "nothing was found");
    }

    #[test]
    fn what_is_no_vm_is_refused() {
        for text in [
            "{\"VMName\":\"a\"",
            "{\"Size\":1}",
            "{\"Name\":5}",
            "[1]",
            "{\"TypeName\":\"NetAdapterSriov\",\"Name\":\"pf0\"}",
            "{\"VMName\":\"a\"} nonsense",
            "\"a\" null",
        ] {
            let problem = vms_of(text.as_bytes()).unwrap_err();
            assert_eq!(problem.code, Code::InvalidArgument, "{text}");
        }
        let problem = vms_of(&b"{\"VMName\":\"\xff\"}"[..]).unwrap_err();
        assert_eq!(problem.code, Code::InvalidArgument);
    }
}
