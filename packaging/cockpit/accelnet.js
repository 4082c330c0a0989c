// What accelnet says of this host or of its cluster, by the socket that its command line uses too, and the level of
// a VM set. Who may do what the socket decides: root and the group 'accelnet', or on a node of a cluster a token.
"use strict";

const SOCKET = "/run/accelnet/accelnet.sock";
const AGAIN_MS = 5000;
const MOST_VMS = 500;
const LEVELS = ["none", "low", "medium", "high"];
const WORST_FIRST = ["critical", "warning", "notice"];
const PATHS = { vf: "VF", synthetic: "switch", none: "none" };

const server = cockpit.http(SOCKET, { superuser: "try" });
const by_id = id => document.getElementById(id);
// Never written down: it goes with the page.
let token = null;
// What the last command said: it stays until the next one, however often the page is drawn meanwhile.
let refused = null;
// VMs whose level is being changed, by UUID: what is chosen is shown until there is an answer.
const chosen = new Map();

// An error as people read it: what happened, what helps, and whether a token would.
class Refusal extends Error {
    constructor(detail, cure, code) {
        super(cure ? `${detail}\n${cure}` : detail);
        this.code = code;
    }
}

function as_refusal(exception, body) {
    if (exception.status === undefined || exception.status === null) {
        const cures = {
            "not-found": "Is it running? systemctl status accelnetd accelnet-agent",
            "access-denied": "Turn on administrative access, or join the group 'accelnet'.",
        };
        return new Refusal(`Nobody answers at ${SOCKET}: ${exception.message || exception.problem}`,
                           cures[exception.problem] || cures["not-found"]);
    }
    try {
        const problem = JSON.parse(body);
        return new Refusal(problem.detail, problem.cure, problem.code);
    } catch {
        return new Refusal(`accelnet answered ${exception.status}, and not as this page knows it.`);
    }
}

function ask(method, path, body) {
    const headers = { "Content-Type": "application/json" };
    if (token)
        headers.Authorization = `Bearer ${token}`;
    return new Promise((resolve, reject) => {
        server.request({ method, path: `/api/v1${path}`, headers, body: body ? JSON.stringify(body) : "" })
            .then(answer => resolve(JSON.parse(answer)))
            .catch((exception, answer) => reject(as_refusal(exception, answer)));
    });
}

// All text goes in as text: names are whatever users called their VMs.
function element(name, text, kind) {
    const made = document.createElement(name);
    if (text !== undefined)
        made.textContent = text;
    if (kind)
        made.className = kind;
    return made;
}

function fill(id, rows) {
    by_id(id).tBodies[0].replaceChildren(...rows.map(cells => {
        const row = element("tr");
        row.append(...cells.map(cell => cell instanceof Node ? cell : element("td", cell)));
        return row;
    }));
}

function show_faults(faults) {
    const rank = fault => [fault.muted || fault.acknowledged ? 1 : 0, WORST_FIRST.indexOf(fault.severity)];
    const sorted = faults.slice().sort((a, b) => {
        const [x, y] = [rank(a), rank(b)];
        return x[0] - y[0] || x[1] - y[1] || a.since.localeCompare(b.since);
    });
    by_id("healthy").hidden = faults.length > 0;
    by_id("faults").hidden = faults.length === 0;
    fill("faults", sorted.map(fault => {
        const aside = fault.muted ? "muted" : fault.acknowledged ? "acknowledged" : "";
        const severity = element("td", aside ? `${fault.severity}, ${aside}` : fault.severity,
                                 aside ? "set-aside" : fault.severity);
        return [severity, fault.evidence, new Date(fault.since).toLocaleString(), fault.cure];
    }));
}

function node_state(node) {
    if (!node.reachable)
        return "does not answer";
    return node.problems.map(problem => problem.detail).join(" ") || (node.converged ? "as wanted" : "on its way there");
}

function show_nodes(nodes) {
    fill("nodes", nodes.map(node =>
        [node.name, node_state(node), `${node.vfs_used} of ${node.vfs}`, `${node.vms_accelerated} of ${node.vms}`]));
}

// Reasons of its NICs, and what is said of the VM as a whole; each once.
function why(vm) {
    const said = vm.nics.map(nic => nic.reason).concat(vm.problems.map(problem => problem.detail));
    if (vm.parked)
        said.push("parked");
    return [...new Set(said.filter(Boolean))].join(" ");
}

function path(vm) {
    if (vm.state !== "running")
        return vm.state;
    const paths = vm.nics.filter(nic => nic.managed).map(nic => PATHS[nic.path] || nic.path);
    return [...new Set(paths)].join(", ") || "no NIC on the intent's bridge";
}

function level_of(vm) {
    const select = element("select");
    select.setAttribute("aria-label", `Level of ${vm.name}`);
    select.append(...LEVELS.map(level => element("option", level)));
    select.value = chosen.get(vm.uuid) || vm.level || "none";
    select.disabled = chosen.has(vm.uuid);
    select.addEventListener("change", () => set_level(vm, select.value));
    const cell = element("td");
    cell.append(select);
    return cell;
}

function show_vms(list) {
    by_id("more").hidden = !list.next;
    // A list that somebody has open is left alone until the next time.
    if (document.activeElement instanceof HTMLSelectElement && !chosen.size)
        return;
    fill("vms", list.items.map(vm => [vm.name, vm.node, path(vm), why(vm), level_of(vm)]));
}

async function set_level(vm, level) {
    chosen.set(vm.uuid, level);
    document.activeElement.blur();
    refused = null;
    const at = `/vms/${vm.uuid}/acceleration`;
    try {
        await (level === "none" ? ask("DELETE", at) : ask("PUT", at, { performance: level }));
    } catch (refusal) {
        refused = refusal;
    }
    chosen.delete(vm.uuid);
    await look();
}

function show_error(refusal) {
    by_id("error").hidden = !refusal;
    by_id("error").textContent = refusal ? refusal.message : "";
    by_id("token").hidden = !refusal || refusal.code !== "not_authenticated";
}

async function look() {
    try {
        const [status, faults, vms] = await Promise.all(
            [ask("GET", "/status"), ask("GET", "/faults"), ask("GET", `/vms?limit=${MOST_VMS}`)]);
        by_id("summary").textContent = status.enabled
            ? `Acceleration is enabled on intent '${status.enabled.intent}'.`
            : "Acceleration is not enabled: accelnet enable --intent NAME";
        show_faults(faults.items);
        show_nodes(status.nodes);
        show_vms(vms);
        show_error(refused);
    } catch (refusal) {
        by_id("summary").textContent = "What was last seen:";
        show_error(refusal);
    }
}

// One look after the other, and none while nobody sees the page.
async function look_on() {
    if (!document.hidden)
        await look();
    window.setTimeout(look_on, AGAIN_MS);
}

by_id("token").addEventListener("submit", event => {
    event.preventDefault();
    token = event.target.elements.token.value;
    event.target.reset();
    look();
});
document.addEventListener("visibilitychange", () => document.hidden || look());
look_on();
