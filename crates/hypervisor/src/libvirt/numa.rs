//! What of the host a definition binds a VM to (<https://libvirt.org/formatdomain.html#numa-node-tuning>,
//! `#cpu-tuning`). What libvirt lets numad choose (`placement='auto'`) stands nowhere in it.

use accelnet_model::{Bound, Numbers};

use super::xml::{Element, attribute, child, children, text};

/// More vCPUs than QEMU takes.
const VCPUS_MAX: u32 = 4096;

/// The NUMA nodes that its memory is bound to, or shall come from.
pub fn memory_on(root: Element<'_>) -> Bound {
    let auto = |of: Option<&str>| of == Some("auto");
    let Some(tuning) = child(root, "numatune") else {
        // Where numad places the vCPUs it places the memory too.
        return match auto(attribute(root, "vcpu", "placement")) {
            true => Bound::Unknown,
            false => Bound::Free,
        };
    };
    let whole = child(tuning, "memory");
    if auto(whole.and_then(|memory| memory.attribute("placement"))) {
        return Bound::Unknown;
    }
    let cells = children(tuning, "memnode");
    let sets: Vec<&str> = whole
        .into_iter()
        .chain(cells)
        .filter_map(|memory| memory.attribute("nodeset"))
        .collect();
    match sets.is_empty() {
        true => Bound::Free,
        false => together(sets.into_iter().map(read)),
    }
}

/// The host's CPUs that its vCPUs are bound to, if each of them is bound to some.
pub fn cpus_on(root: Element<'_>) -> Bound {
    if attribute(root, "vcpu", "placement") == Some("auto") {
        return Bound::Unknown;
    }
    let count = text(root, "vcpu").and_then(|count| count.parse::<u32>().ok());
    let Some(count) = count.filter(|count| (1..=VCPUS_MAX).contains(count)) else {
        return Bound::Unknown;
    };
    let all = attribute(root, "vcpu", "cpuset");
    let pins: Vec<(Option<u32>, &str)> = child(root, "cputune")
        .into_iter()
        .flat_map(|tuning| children(tuning, "vcpupin"))
        .filter_map(|pin| {
            let vcpu = pin.attribute("vcpu")?.parse().ok();
            Some((vcpu, pin.attribute("cpuset")?))
        })
        .collect();
    let each = (0..count).map(|vcpu| {
        let pin = pins.iter().find(|(number, _)| *number == Some(vcpu));
        pin.map(|(_, cpus)| *cpus).or(all)
    });
    // One that floats takes the VM wherever there is a CPU.
    let each: Option<Vec<&str>> = each.collect();
    each.map_or(Bound::Free, |each| together(each.into_iter().map(read)))
}

fn read(set: &str) -> Option<Numbers> {
    set.parse().ok()
}

/// What cannot be read makes all of it unknown.
fn together(sets: impl Iterator<Item = Option<Numbers>>) -> Bound {
    let sets: Option<Vec<Numbers>> = sets.collect();
    let joined = sets.map(|sets| sets.iter().fold(Numbers::default(), Numbers::and));
    match joined {
        Some(joined) if !joined.is_empty() => Bound::To(joined),
        _ => Bound::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libvirt::xml;

    fn of(definition: &str) -> (Bound, Bound) {
        let definition = format!("<domain>{definition}</domain>");
        xml::read(&definition, |_, root| Ok((memory_on(root), cpus_on(root)))).unwrap()
    }

    fn to(set: &str) -> Bound {
        Bound::To(set.parse().unwrap())
    }

    #[test]
    fn a_vm_is_bound_free_or_nobody_can_tell() {
        let two = "<vcpu placement='static'>2</vcpu>";
        let pins =
            "<cputune><vcpupin vcpu='0' cpuset='0-3'/><vcpupin vcpu='1' cpuset='8'/></cputune>";
        let one_pin = "<cputune><vcpupin vcpu='1' cpuset='8'/></cputune>";
        for (definition, memory, cpus) in [
            (two.to_owned(), Bound::Free, Bound::Free),
            (format!("{two}{pins}"), Bound::Free, to("0-3,8")),
            (format!("{two}{one_pin}"), Bound::Free, Bound::Free),
            (
                format!("<vcpu cpuset='4-7'>2</vcpu>{one_pin}"),
                Bound::Free,
                to("4-8"),
            ),
            (
                format!("{two}<numatune><memory mode='strict' nodeset='1'/></numatune>"),
                to("1"),
                Bound::Free,
            ),
            (
                format!(
                    "{two}<numatune><memnode cellid='0' mode='strict' nodeset='0'/>\
                     <memnode cellid='1' mode='strict' nodeset='2'/></numatune>"
                ),
                to("0,2"),
                Bound::Free,
            ),
            (
                format!("{two}<numatune><memory mode='strict' placement='auto'/></numatune>"),
                Bound::Unknown,
                Bound::Free,
            ),
            (
                "<vcpu placement='auto'>2</vcpu>".to_owned(),
                Bound::Unknown,
                Bound::Unknown,
            ),
            // What was never written by libvirt is not taken for anything.
            (
                "<vcpu cpuset='x'>2</vcpu><numatune><memory nodeset='^1'/></numatune>".to_owned(),
                Bound::Unknown,
                Bound::Unknown,
            ),
            (String::new(), Bound::Free, Bound::Unknown),
        ] {
            assert_eq!(of(&definition), (memory, cpus), "{definition}");
        }
    }
}
