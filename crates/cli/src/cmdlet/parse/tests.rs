//! Command lines as a shell hands them on, documented ones and hostile ones.

use proptest::prelude::*;

use super::{
    super::table::{CMDLETS, find},
    *,
};

fn parse_words(cmdlet: &str, words: &[&str], piped: bool) -> Result<Bound, Problem> {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    parse(find(cmdlet).unwrap(), &words, piped)
}

/// What was bound, in one line; of an error its detail.
fn bound(cmdlet: &str, words: &[&str], piped: bool) -> String {
    match parse_words(cmdlet, words, piped) {
        Ok(Bound(values)) => {
            let values = values.into_iter().map(|(name, value)| match value {
                Value::Text(text) => format!("{name}={text:?}"),
                Value::Names(names) => format!("{name}={names:?}"),
                Value::Level(level) => format!("{name}={level}"),
                Value::Percentage(number) => format!("{name}={number}"),
                Value::Switch(on) => format!("{name}={on}"),
                Value::ErrorAction(action) => format!("{name}={action:?}"),
                Value::Default => format!("{name}=default"),
            });
            values.collect::<Vec<_>>().join(" ")
        }
        Err(problem) => {
            assert_eq!(problem.code, Code::InvalidArgument);
            assert!(!problem.cure.is_empty());
            assert!(!problem.detail.contains(char::is_control), "{problem}");
            problem.detail
        }
    }
}

#[track_caller]
fn all(cmdlet: &str, table: &[(&[&str], &str)]) {
    for (words, expected) in table {
        assert_eq!(bound(cmdlet, words, false), *expected, "{words:?}");
    }
}

#[test]
fn vms_and_levels() {
    const A: &str = "Performance=Low VMName=[\"a\"]";
    const AB: &str = "Performance=Low VMName=[\"a\", \"b\"]";
    all(
        "Enable-AccelNetVM",
        &[
            (&["-VMName", "a", "-Performance", "Low"], A),
            (&["-vmname", "a", "-PERFORMANCE", "low"], A),
            (&["a", "Low"], A),
            (&["-Performance", "Low", "a"], A),
            (&["-Perf", "Low", "-VMN", "a"], A),
            (&["-P:Low", "-VMName:a"], A),
            (&["-VMName:", "a", "-Performance:", "Low"], A),
            (&["\u{2013}VMName", "a", "\u{2014}Performance", "Low"], A),
            (&["-VMName", "a, b", "-Performance", "Low"], AB),
            (&["-VMName", "a,", "b", "-Performance", "Low"], AB),
            (&["-VMName", "a", ",b", "Low"], AB),
            (&["-VMName", "a", ",", "b", "Low"], AB),
            (&["-VMName:a,", "b", "Low"], AB),
            (&["a,", "b", "Low"], AB),
            (&["a,b", "Low"], AB),
        ],
    );
    all(
        "Enable-AccelNetVM",
        &[
            (
                &["-VM", "a", "-Performance", "Low"],
                "Performance=Low VM=[\"a\"]",
            ),
            (
                &["-VMName", "web 1, web'2\", web/3", "High"],
                "Performance=High VMName=[\"web 1\", \"web'2\\\"\", \"web/3\"]",
            ),
            (&["-VMName:-x", "Low"], "Performance=Low VMName=[\"-x\"]"),
            (&["--", "-x", "Low"], "Performance=Low VMName=[\"-x\"]"),
            (&["--", "--", "Low"], "Performance=Low VMName=[\"--\"]"),
            (&["-", "Low"], "Performance=Low VMName=[\"-\"]"),
            (&["-5", "Low"], "Performance=Low VMName=[\"-5\"]"),
        ],
    );
    assert_eq!(
        bound("Enable-AccelNetVM", &["-Performance", "Low"], true),
        "Performance=Low"
    );
    assert_eq!(bound("Disable-AccelNetVM", &[], true), "");
    assert_eq!(bound("Get-AccelNetVM", &[], false), "");
    assert_eq!(
        bound("Get-VM", &["-Name", "a"], false),
        "VMName=[\"a\"]",
        "an alias"
    );
    let thousand: Vec<String> = (0..1000).map(|number| format!("vm{number}")).collect();
    for line in [thousand.join(","), thousand.join(", ")] {
        let bound = parse_words("Disable-AccelNetVM", &[&line], false).unwrap();
        assert_eq!(bound.names("VMName"), thousand);
    }
    let words: Vec<String> = thousand.iter().map(|name| format!("{name},")).collect();
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    words.push("last");
    let bound = parse_words("Disable-AccelNetVM", &words, false).unwrap();
    assert_eq!(bound.names("VMName").len(), 1001);
}

#[test]
fn intents_and_reserves() {
    all(
        "Enable-AccelNetManagement",
        &[
            (&["-IntentName", "c"], "IntentName=\"c\""),
            (
                &["-IntentName", "c", "-NodeReservePercentage", "25"],
                "IntentName=\"c\" NodeReservePercentage=25",
            ),
            (
                &["-IntentName", "c", "-NodeReservePercentage"],
                "IntentName=\"c\" NodeReservePercentage=default",
            ),
            (
                &["-NodeReservePercentage", "-IntentName", "c"],
                "IntentName=\"c\" NodeReservePercentage=default",
            ),
            (
                &["-NodeReservePercentage:", "-IntentName", "c"],
                "IntentName=\"c\" NodeReservePercentage=default",
            ),
            (&["c", "25"], "IntentName=\"c\" NodeReservePercentage=25"),
            (
                &["25", "-I", "c"],
                "IntentName=\"c\" NodeReservePercentage=25",
            ),
            // Out of range is the server's to say.
            (&["c", "100"], "IntentName=\"c\" NodeReservePercentage=100"),
            (&["c", "-1"], "IntentName=\"c\" NodeReservePercentage=-1"),
            (
                &["c", "3.5"],
                "'3.5' is not a value of -NodeReservePercentage.",
            ),
            (
                &["c", "abc"],
                "'abc' is not a value of -NodeReservePercentage.",
            ),
            (
                &["c", "-N", "99999999999999999999"],
                "'99999999999999999999' is not a value of -NodeReservePercentage.",
            ),
            (
                &[],
                "Enable-AccelNetManagement needs parameter -IntentName.",
            ),
            (
                &["-NodeReservePercentage", "5"],
                "Enable-AccelNetManagement needs parameter -IntentName.",
            ),
            (&["-IntentName", ""], "The value of -IntentName is empty."),
            (&["-IntentName"], "Parameter -IntentName has no value."),
            (
                &["-IntentName", "-Verbose"],
                "Parameter -IntentName has no value.",
            ),
            (
                &["c", "1", "x"],
                "There is no parameter of Enable-AccelNetManagement left for 'x'.",
            ),
        ],
    );
}

#[test]
fn common_parameters() {
    all(
        "Disable-AccelNetManagement",
        &[
            (&["-Verbose"], "Verbose=true"),
            (&["-vb", "-wi"], "Verbose=true WhatIf=true"),
            (&["-W"], "WhatIf=true"),
            (&["-Confirm"], "Confirm=true"),
            (&["-Confirm:$false"], "Confirm=false"),
            // What is left of it where the shell knows no such variable.
            (&["-Confirm:"], "Confirm=false"),
            (&["-Confirm:$TRUE"], "Confirm=true"),
            (&["-WhatIf:0", "-Conf:1"], "Confirm=true WhatIf=false"),
            (&["-ErrorAction", "stop"], "ErrorAction=Stop"),
            (&["-EA:Ignore"], "ErrorAction=Silent"),
            (&["-Err", "SilentlyContinue"], "ErrorAction=Silent"),
            (&["-ErrorAction", "Continue"], "ErrorAction=Continue"),
            (&["-?"], "Help=true"),
            (&["-Help"], "Help=true"),
            (&["--help"], "Help=true"),
            (&["-h"], "Help=true"),
            (
                &["-ErrorAction", "x"],
                "'x' is not a value of -ErrorAction.",
            ),
            (&["-ErrorAction"], "Parameter -ErrorAction has no value."),
            (&["-Confirm:maybe"], "'maybe' is not a value of -Confirm."),
            (
                &["-Verbose", "x"],
                "There is no parameter of Disable-AccelNetManagement left for 'x'.",
            ),
        ],
    );
    let help = parse_words("Enable-AccelNetVM", &["-?"], false).unwrap();
    assert!(help.switch("Help"), "nothing is missing then");
}

#[test]
fn what_is_wrong_is_named() {
    all(
        "Enable-AccelNetVM",
        &[
            (
                &["-Turbo", "x"],
                "Enable-AccelNetVM has no parameter '-Turbo'.",
            ),
            (
                &["--VMName", "x"],
                "Enable-AccelNetVM has no parameter '--VMName'.",
            ),
            (&["-V", "a", "Low"], "'-V' could be -VMName, -VM, -Verbose."),
            (
                &["-VMName", "a", "-VMName", "b", "Low"],
                "Parameter -VMName is given twice.",
            ),
            (
                &["-VMName", "a", "-Performance", "Turbo"],
                "'Turbo' is not a value of -Performance.",
            ),
            (
                &["a", "Low,", "High"],
                "'Low,High' is not a value of -Performance.",
            ),
            (
                &["-VMName", "a"],
                "Enable-AccelNetVM needs parameter -Performance.",
            ),
            (
                &["-Performance", "Low"],
                "Enable-AccelNetVM needs parameter -VMName.",
            ),
            (
                &["a", "Low", "b", "c"],
                "There is no parameter of Enable-AccelNetVM left for 'c'.",
            ),
            (&["", "Low"], "The value of -VMName is empty."),
            (&["-VMName: ", "Low"], "The value of -VMName is empty."),
            (&["a,,b", "Low"], "A name in 'a,,b' of -VMName is empty."),
            (
                &["-VMName", "a, ", "-Perf", "Low"],
                "A name in 'a, ' of -VMName is empty.",
            ),
            (&[",", "Low"], "A name in ',Low' of -VMName is empty."),
            (
                &["-x\u{1b}[31m\u{7}"],
                "Enable-AccelNetVM has no parameter '-x\\u{1b}[31m\\u{7}'.",
            ),
            (
                &["a", "\n\u{9b}"],
                "'\\n\\u{9b}' is not a value of -Performance.",
            ),
        ],
    );
    let long = "x".repeat(100_000);
    let words = ["-Performance", long.as_str()];
    assert!(bound("Enable-AccelNetVM", &words, true).len() < 200);
}

proptest! {
    /// Whatever is typed is understood or refused with one clear problem.
    #[test]
    fn any_words_are_answered(
        words in proptest::collection::vec("(-[A-Za-z]{0,3}:?)?[a ,:\\-$\u{2013}\u{7}0-9ä]{0,4}", 0..6),
        piped: bool,
    ) {
        for cmdlet in CMDLETS {
            if let Err(problem) = parse(cmdlet, &words, piped) {
                prop_assert_eq!(problem.code, Code::InvalidArgument);
                prop_assert!(!problem.detail.contains(char::is_control));
            }
        }
    }

    /// Names arrive as they are, in one text or in as many words as a shell makes of them.
    #[test]
    fn names_arrive_as_they_are(
        names in proptest::collection::vec("[a-z*?/'\"][a-z '\"/:.$-]{0,6}[a-z\"]", 1..5),
    ) {
        let joined = names.join(", ");
        let mut cut: Vec<String> = names.iter().map(|name| format!("{name},")).collect();
        if let Some(last) = cut.last_mut() {
            last.pop();
        }
        for words in [vec!["-VMName".to_owned(), joined.clone()], vec![joined], cut] {
            let bound = parse(find("Get-VM").unwrap(), &words, false).unwrap();
            prop_assert_eq!(bound.names("VMName"), &names);
        }
    }
}

#[test]
fn what_web_pages_print_is_understood() {
    all(
        "Get-VM",
        &[
            (
                &["\u{2013}Name", "\u{201c}MyVM01\u{201d}"],
                "VMName=[\"MyVM01\"]",
            ),
            (
                &["-Name", "\u{201c}My", "VM", "01\u{201d}"],
                "VMName=[\"My VM 01\"]",
            ),
            (&["-Name:\u{2018}MyVM01\u{2019}"], "VMName=[\"MyVM01\"]"),
            (&["\u{201c}A,", "B\u{201d}"], "VMName=[\"A\", \"B\"]"),
            (
                &["\u{201e}A\u{201c},\u{201e}B\u{201c}"],
                "VMName=[\"A\", \"B\"]",
            ),
            (
                &["\u{201c}A\u{201d},", "\u{201c}B", "b\u{201d}"],
                "VMName=[\"A\", \"B b\"]",
            ),
            (&["Anna\u{2019}s"], "VMName=[\"Anna\u{2019}s\"]"),
            (&["@(\"A\",\"B\")"], "VMName=[\"A\", \"B\"]"),
            (&["@('A', 'B')"], "VMName=[\"A\", \"B\"]"),
            (&["\"A\""], "VMName=[\"\\\"A\\\"\"]"),
        ],
    );
    all(
        "Enable-AccelNetVM",
        &[(
            &["-VMName", "A,B", "-Performance", "medium", "-Confirm:"],
            "Confirm=false Performance=Medium VMName=[\"A\", \"B\"]",
        )],
    );
    all(
        "Get-NetAdapterSriovVf",
        &[(
            &["-Name", "eth2", "-FunctionID", "3", "-IncludeHidden"],
            "FunctionID=[\"3\"] IncludeHidden=true Name=[\"eth2\"]",
        )],
    );
}

#[test]
fn of_a_parameter_that_is_not_here_the_nearest_is_said() {
    let words = [
        "-InterfaceDescription",
        "Contoso*",
        "-NoRestart",
        "-PassThru",
    ];
    let problem = parse_words("Enable-NetAdapterSriov", &words, false).unwrap_err();
    assert!(problem.cure.starts_with("Use -Name"), "{problem:?}");
    assert!(
        problem.cure.contains("-NoRestart"),
        "the known ones too: {problem:?}"
    );
}
