//! `docs/reference/health.md`: every detection, from the rules' own table.

use std::time::Duration;

use accelnet_model::{
    Code, FaultSeverity,
    problem::exit::{CRITICAL, WARNING},
};
use accelnet_rules::health::{self, Window};

/// The page.
pub fn page() -> String {
    let mut page = format!(
        "<!-- Written by 'make problems' from the detections in crates/rules/src/health. -->\n\
         # Health\n\n\
         What is wrong and lasts is a **fault**. `accelnet hud` shows the open ones, the worst first; what opened and \
         closed is in `accelnet events`. How to work with them: [Faults](../guide/health.md); why it is so: \
         [the decision](../adr/faults.md).\n\n\
         A fault is a code of the [catalogue](problems.md) and an object. It opens when its condition has held for its \
         detection's window without a break, and closes when it has been gone for another; what is counted opens when it \
         happened so often within a time, and closes when it has not happened for as long. While its object cannot be seen (a \
         node is silent, a VM cannot be looked at, a card counts nothing) it stays as it is. Evidence that changes is told \
         once in {} s at most. Open faults survive restarts of the server, and a change of the one that decides; of events \
         the last 1,000 are kept, and 10,000 faults can be open.\n\n\
         | severity | means | exit code of `hud` and `status --check` |\n|---|---|---|\n\
         | critical | VMs are without a part of what they were promised, or soon will be | {CRITICAL} |\n\
         | warning | something is not as it is wanted; packets go on | {WARNING} |\n\
         | notice | somebody decided it, or it may become worse; nothing is missing | 0 |\n\n\
         Faults that are acknowledged or muted do not count.\n\n\
         ## Windows\n\n\
         They can be changed, and detections turned off, where the server is started, also of one host: in \
         `/etc/accelnet/accelnetd.toml` ([configuration](configuration.md)), by `ACCELNET_FAULT_WINDOWS` or \
         `--fault-windows`. In seconds:\n\n\
         ```toml\n\
         [server]\n\
         fault-windows = \"vm_parked=3600/0,adapter_link_flaps=10/600,version_skew=off\"\n\
         ```\n\n\
         `CODE=OPENS/CLOSES`; of what is counted, `CODE=TIMES/WITHIN`.\n\n\
         ## Actions\n\n\
         Something can be done about faults beside telling them: `fault-actions`, `ACCELNET_FAULT_ACTIONS` or \
         `--fault-actions`, `CODE=ACTION` with commas ([how](../guide/health.md#let-the-server-act)).\n\n\
         | action | for |\n|---|---|\n\
         | `report` (as without it), `ignore` | all |\n\
         | `isolate`: the adapter is taken out of the pool until somebody lets it back | {} |\n\
         | `disable`: the VM is parked until somebody unparks it | {} |\n\n\
         ## Detections\n\n\
         | code | severity | about | opens | closes after |\n|---|---|---|---|---|\n",
        health::UPDATED_EVERY.as_secs(),
        codes(&health::ISOLATE),
        codes(&health::DISABLE),
    );
    for detection in health::all() {
        let (opens, closes) = windows(detection.window);
        let code = detection.code;
        let (severity, about) = (detection.severity, detection.about);
        page.push_str(&format!(
            "| [{code}](#{code}) | {severity} | {about} | {opens} | {closes} |\n"
        ));
    }
    for detection in health::all() {
        let code = detection.code;
        let severity = match detection.severity {
            FaultSeverity::Critical => "Critical",
            FaultSeverity::Warning => "A warning",
            FaultSeverity::Notice => "A notice",
        };
        let (opens, closes) = windows(detection.window);
        page.push_str(&format!(
            "\n## {code}\n\n**{}** {severity}, about {} {}.\n\n*Found by:* {}\n\n*Told:* {opens}; closes after {closes}. \
             {}\n\n*Cure:* {}\n",
            code.title(),
            article(detection.about),
            detection.about,
            detection.finds,
            detection.because,
            code.cure()
        ));
    }
    page
}

fn article(noun: &str) -> &'static str {
    match noun.starts_with(['a', 'e', 'i', 'o', 'u']) {
        true => "an",
        false => "a",
    }
}

fn codes(codes: &[Code]) -> String {
    let codes: Vec<String> = codes
        .iter()
        .map(|code| format!("[{code}](#{code})"))
        .collect();
    codes.join(", ")
}

fn windows(window: Window) -> (String, String) {
    match window {
        Window::Lasts { opens, closes } => {
            let opens = match opens {
                Duration::ZERO => "at once".to_owned(),
                opens => format!("after {}", words(opens)),
            };
            (opens, words(closes))
        }
        Window::Counts { times, within } => {
            let times = if times == 1 {
                "once".to_owned()
            } else {
                format!("{times} times")
            };
            (format!("{times} within {}", words(within)), words(within))
        }
    }
}

fn words(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        86_400 => "a day".to_owned(),
        _ => format!("{} days", seconds / 86_400),
    }
}
