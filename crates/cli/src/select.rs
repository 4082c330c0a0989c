//! Which VMs a command line means: names, UUIDs, patterns, standard input.

use std::io::Read;

use accelnet_api::{Client, ClientError, Vm};
use accelnet_model::{Code, Problem};
use futures::future::join_all;
use wildmatch::WildMatch;

/// More standard input than this is no list of VM names.
const STDIN_LIMIT_BYTES: u64 = 4 << 20;

/// Names up to so many are asked for one by one; more, and patterns, in a list of all VMs.
const ALONE: usize = 16;

/// Something that a command is to be done for: a VM, or a name that fits none or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selected {
    /// One VM.
    Vm {
        /// It, as it was just now.
        vm: Box<Vm>,
    },
    /// What was typed does not name one VM.
    Problem(Box<Problem>),
}

impl Selected {
    /// A VM that is known.
    pub fn of(vm: &Vm) -> Self {
        Self::Vm {
            vm: Box::new(vm.clone()),
        }
    }
}

/// How names are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Letters {
    /// Upper and lower case are different letters.
    Exact,
    /// They are the same where no VM is called exactly so.
    Alike,
}

/// Finds the VMs that `words` mean, each once, in the order typed.
pub async fn select(client: &Client, words: &[String]) -> Result<Vec<Selected>, ClientError> {
    let mut names = Vec::new();
    for word in words {
        if word == "-" {
            let text = read_text(std::io::stdin().lock(), STDIN_LIMIT_BYTES)?;
            names.extend(lines(&text));
        } else {
            names.push(word.clone());
        }
    }
    if names.is_empty() {
        let problem = Problem::new(Code::InvalidArgument, "Standard input names no VM.");
        return Err(problem
            .with_cure("Give at least one name, one a line.")
            .into());
    }
    // Blanks at a name's ends may be its own or come with it: the list tells.
    let of_several = |name: &String| name.contains(['*', '?']) || name.trim() != name;
    if names.len() > ALONE || names.iter().any(of_several) {
        return Ok(look_up(client, &names, Letters::Exact).await?.1);
    }
    one_by_one(client, &names).await
}

/// Asks for each name alone: what that costs does not grow with the number of VMs.
async fn one_by_one(client: &Client, names: &[String]) -> Result<Vec<Selected>, ClientError> {
    let mut asked: Vec<&String> = Vec::new();
    for name in names {
        if !asked.contains(&name) {
            asked.push(name);
        }
    }
    let answers = join_all(asked.iter().map(|name| client.vm(name))).await;
    let mut selected: Vec<Selected> = Vec::new();
    for answer in answers {
        let item = match answer {
            Ok(vm) => Selected::of(&vm),
            Err(error) => {
                let mut problems = error.into_problems();
                let of_name = |problem: &Problem| {
                    matches!(problem.code, Code::VmNotFound | Code::VmAmbiguous)
                };
                if problems.len() != 1 || !of_name(&problems[0]) {
                    return Err(ClientError::Problems(problems));
                }
                Selected::Problem(Box::new(problems.remove(0)))
            }
        };
        let uuid = |item: &Selected| match item {
            Selected::Vm { vm } => Some(vm.uuid),
            Selected::Problem(_) => None,
        };
        let known = uuid(&item).is_some() && selected.iter().any(|one| uuid(one) == uuid(&item));
        if !known {
            selected.push(item);
        }
    }
    Ok(selected)
}

/// All VMs, and those that the names mean.
pub async fn look_up(
    client: &Client,
    names: &[String],
    letters: Letters,
) -> Result<(Vec<Vm>, Vec<Selected>), ClientError> {
    let vms = client.vms().await?.items;
    let selected = resolve(&vms, names, letters);
    let unknown = |item: &Selected| matches!(item, Selected::Problem(problem) if problem.code == Code::VmNotFound);
    if !selected.iter().any(unknown) {
        return Ok((vms, selected));
    }
    // It may have been defined a moment ago.
    let vms = client.vms_now().await?.items;
    let selected = resolve(&vms, names, letters);
    Ok((vms, selected))
}

/// True if two names differ in upper and lower case at most.
pub fn are_alike(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

/// True if a word can mean more than one VM.
pub fn means_several(word: &str) -> bool {
    word == "-" || word.contains(['*', '?'])
}

/// All of an input that is not longer than this.
pub fn read_text(input: impl Read, limit_bytes: u64) -> Result<String, Problem> {
    let mut text = String::new();
    input
        .take(limit_bytes + 1)
        .read_to_string(&mut text)
        .map_err(|error| {
            Problem::new(
                Code::InvalidArgument,
                format!("Standard input cannot be read: {error}."),
            )
        })?;
    if text.len() as u64 > limit_bytes {
        return Err(Problem::new(
            Code::InvalidArgument,
            format!("Standard input is longer than {limit_bytes} bytes."),
        ));
    }
    Ok(text)
}

/// Names, one a line. Blanks at their ends may be part of them.
pub fn lines(text: &str) -> impl Iterator<Item = String> {
    let lines = text.lines();
    lines
        .filter(|line| !line.trim().is_empty())
        .map(str::to_owned)
}

/// The VMs that these names mean, each once, in the order of the names.
fn resolve(vms: &[Vm], names: &[String], letters: Letters) -> Vec<Selected> {
    let mut selected: Vec<Selected> = Vec::new();
    for name in names {
        for item in resolve_one(vms, name, letters) {
            if !selected.contains(&item) {
                selected.push(item);
            }
        }
    }
    selected
}

fn resolve_one(vms: &[Vm], word: &str, letters: Letters) -> Vec<Selected> {
    let problem = |problem: Problem| vec![Selected::Problem(Box::new(problem))];
    let shown: String = word.chars().take(80).flat_map(char::escape_debug).collect();
    // A UUID means its VM, even if somebody gave it to another one as a name.
    let mut uuids = vms.iter().map(|vm| (vm, vm.uuid.to_string()));
    if let Some((vm, _)) = uuids.find(|(_, uuid)| uuid.eq_ignore_ascii_case(word.trim())) {
        return vec![Selected::of(vm)];
    }
    let mut called: Vec<&Vm> = vms.iter().filter(|vm| vm.name == word).collect();
    if called.is_empty() && letters == Letters::Alike {
        called.extend(vms.iter().filter(|vm| are_alike(&vm.name, word)));
    }
    // libvirt takes blanks at a name's ends, and what lists names adds or cuts them off: they matter only where
    // they tell names apart.
    let bare = word.trim();
    let is_bare = |vm: &&Vm| match letters {
        Letters::Exact => vm.name.trim() == bare,
        Letters::Alike => are_alike(vm.name.trim(), bare),
    };
    if called.is_empty() && !bare.is_empty() {
        called.extend(vms.iter().filter(is_bare));
    }
    match called.as_slice() {
        [vm] => return vec![Selected::of(vm)],
        [] => {}
        several => {
            let uuids: Vec<_> = several.iter().map(|vm| vm.uuid.to_string()).collect();
            return problem(
                Problem::new(
                    Code::VmAmbiguous,
                    format!("'{shown}' is {}.", uuids.join(", ")),
                )
                .about("vm", word),
            );
        }
    }
    if word.contains(['*', '?']) {
        let pattern = match letters {
            Letters::Exact => WildMatch::new(word),
            Letters::Alike => WildMatch::new_case_insensitive(word),
        };
        let matching: Vec<_> = vms
            .iter()
            .filter(|vm| pattern.matches(&vm.name))
            .map(Selected::of)
            .collect();
        if !matching.is_empty() {
            return matching;
        }
    }
    problem(Problem::new(Code::VmNotFound, format!("No VM is called '{shown}'.")).about("vm", word))
}

#[cfg(test)]
mod tests {
    use accelnet_model::VmState;
    use uuid::Uuid;

    use super::*;

    fn vm(name: &str, number: u128) -> Vm {
        Vm {
            name: name.into(),
            uuid: Uuid::from_u128(number),
            node: None,
            state: VmState::Off,
            level: None,
            waivers: Vec::new(),
            parked: None,
            vcpus: 2,
            nics: vec![],
            pending: false,
            progress: None,
            resting: false,
            staged: vec![],
            problems: vec![],
            traffic: vec![],
        }
    }

    fn names(vms: &[Vm], words: &[&str]) -> Vec<String> {
        read(vms, words, Letters::Exact)
    }

    fn read(vms: &[Vm], words: &[&str], letters: Letters) -> Vec<String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        resolve(vms, &words, letters)
            .into_iter()
            .map(|item| match item {
                Selected::Vm { vm } => format!("{}:{}", vm.name, &vm.uuid.to_string()[35..]),
                Selected::Problem(problem) => problem.code.to_string(),
            })
            .collect()
    }

    #[test]
    fn names_patterns_and_uuids_mean_each_vm_once() {
        let vms = [
            vm("web1", 1),
            vm("web2", 2),
            vm("db", 3),
            vm("twin", 4),
            vm("twin", 5),
            vm("a*b", 6),
            vm(&Uuid::from_u128(1).to_string(), 7),
        ];
        assert_eq!(
            names(&vms, &["web*", "web1", "db"]),
            ["web1:1", "web2:2", "db:3"]
        );
        assert_eq!(names(&vms, &["twin"]), ["vm_ambiguous"]);
        assert_eq!(names(&vms, &["twin*"]), ["twin:4", "twin:5"]);
        assert_eq!(
            names(&vms, &["a*b"]),
            ["a*b:6"],
            "a name that looks like a pattern is a name first"
        );
        assert_eq!(
            names(&vms, &["nobody", "x*", "", "a\u{7}"]),
            ["vm_not_found"; 4]
        );
        assert_eq!(
            names(&vms, &[&Uuid::from_u128(3).to_string().to_uppercase()]),
            ["db:3"]
        );
        assert_eq!(
            names(&vms, &[&Uuid::from_u128(1).to_string()]),
            ["web1:1"],
            "a name that is another's UUID takes nothing from it"
        );
    }

    #[test]
    fn blanks_at_a_name_s_ends_matter_only_where_they_tell_names_apart() {
        let vms = [
            vm(" web 01 ", 1),
            vm("db", 2),
            vm("db ", 3),
            vm("-", 4),
            vm("-f, \"q\" *?; $(id)", 5),
        ];
        assert_eq!(
            names(&vms, &[" web 01 ", "web 01", "\tweb 01"]),
            [" web 01 :1"]
        );
        assert_eq!(names(&vms, &["db", "db "]), ["db:2", "db :3"]);
        assert_eq!(names(&vms, &[" db"]), ["vm_ambiguous"]);
        assert_eq!(names(&vms, &["web  01", " "]), ["vm_not_found"; 2]);
        assert_eq!(read(&vms, &["WEB 01"], Letters::Alike), [" web 01 :1"]);
        // One that a line of standard input names: on the command line it is standard input.
        assert_eq!(names(&vms, &["-"]), ["-:4"]);
        assert_eq!(names(&vms, &["-f, \"q\" *?; $(id)"]).len(), 1);
        assert_eq!(names(&vms, &["* 01*"]), [" web 01 :1"]);
    }

    #[test]
    fn case_matters_only_where_it_is_wanted_or_tells_names_apart() {
        let vms = [vm("Web", 1), vm("web", 2), vm("DB", 3), vm("Ä1", 4)];
        let alike = |words: &[&str]| read(&vms, words, Letters::Alike);
        assert_eq!(alike(&["db", "ä1", "web"]), ["DB:3", "Ä1:4", "web:2"]);
        assert_eq!(alike(&["WEB"]), ["vm_ambiguous"]);
        assert_eq!(alike(&["WE*"]), ["Web:1", "web:2"]);
        assert_eq!(names(&vms, &["db", "WE*"]), ["vm_not_found"; 2]);
    }

    #[test]
    fn unreadable_input_is_a_clear_problem() {
        let names: Vec<String> = lines(" web1 \r\n \n db\n-\n").collect();
        assert_eq!(names, [" web1 ", " db", "-"]);
        for input in [&b"\xff\xfe"[..], b"12345"] {
            let problem = read_text(input, 4).unwrap_err();
            assert_eq!(problem.code, Code::InvalidArgument);
        }
        assert_eq!(read_text(&b"1234"[..], 4).unwrap(), "1234");
    }
}
