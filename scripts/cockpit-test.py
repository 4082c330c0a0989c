"""Run by scripts/cockpit-test in a root with Cockpit: the page as a browser has it, and what its server says then."""

import http.server
import json
import os
import socket
import socketserver
import subprocess
import threading
import urllib.request

SOCKET = "/run/accelnet/accelnet.sock"
PORT = 9090
PAGE = f"http://127.0.0.1:{PORT}/cockpit/@localhost/accelnet/index.html"
LIMIT_S = 40


class Browser:
    """A headless Chromium, spoken to by its DevTools protocol over pipes: JSON, each message ended by a zero."""

    def __init__(self):
        to_it, self.write = os.pipe()
        self.read, from_it = os.pipe()
        # The protocol is at descriptors 3 and 4, whatever these pipes have got; 10 and 11 are nobody's.
        os.dup2(to_it, 10)
        os.dup2(from_it, 11)
        line = "exec chromium --headless=new --no-sandbox --disable-gpu --user-data-dir=/tmp/browser " \
               "--remote-debugging-pipe about:blank 3<&10 4>&11 2>/tmp/browser.log"
        self.process = subprocess.Popen(["bash", "-c", line], pass_fds=(10, 11))
        for end in (to_it, from_it, 10, 11):
            os.close(end)
        self.rest, self.number, self.session = b"", 0, None
        page = next(one for one in self.ask("Target.getTargets")["targetInfos"] if one["type"] == "page")
        self.session = self.ask("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        self.ask("Page.enable")

    def ask(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.next()
            if answer.get("id") == self.number:
                assert "error" not in answer, f"{method}: {answer}"
                return answer["result"]

    def next(self):
        while b"\0" not in self.rest:
            more = os.read(self.read, 65536)
            assert more, "the browser has ended: " + open("/tmp/browser.log").read()
            self.rest += more
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def value(self, expression):
        """What an expression of the page comes to."""
        result = self.ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, f"{expression}: {result['exceptionDetails']}"
        return result["result"].get("value")

    def until(self, what, condition):
        """Waits until something holds in the page, which is looked at whenever the page changes."""
        held = self.value(f"""new Promise(resolve => {{
            const holds = () => {{ try {{ return Boolean({condition}); }} catch {{ return false; }} }};
            if (holds()) return resolve(true);
            const watcher = new MutationObserver(() => holds() && resolve(true));
            watcher.observe(document, {{ subtree: true, childList: true, attributes: true, characterData: true }});
            setTimeout(() => resolve(holds()), {LIMIT_S * 1000});
        }})""")
        assert held, f"FAILED: {what}: {self.value('document.body.innerText')}"
        print(f"ok: {what}")

    def open(self, page):
        self.ask("Page.navigate", url=page)
        while self.next().get("method") != "Page.loadEventFired":
            pass


def row(vm):
    return f"[...document.querySelectorAll('#vms tbody tr')].find(row => row.cells[0].innerText === '{vm}')"


def shows(vm, path, level):
    select = f"{row(vm)}.querySelector('select')"
    return f"{row(vm)}.cells[2].innerText === '{path}' && {select}.value === '{level}' && !{select}.disabled"


def choose(browser, vm, level):
    browser.value(f"""{{ const select = {row(vm)}.querySelector('select');
        select.value = '{level}'; select.dispatchEvent(new Event('change')); }}""")


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
        return True
    except ConnectionRefusedError:
        return False


def made_up_nodes(browser):
    """The server over made-up nodes: what it says is shown, what is chosen is done."""
    fake = subprocess.Popen(["/test/fake", "127.0.0.1:0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    url = fake.stdout.readline().strip()
    os.symlink(f"/tmp/accelnet-fake-{fake.pid}/accelnet.sock", SOCKET)

    def level(vm):
        with urllib.request.urlopen(f"{url}/api/v1/vms/{vm}") as answer:
            return json.load(answer)["level"]

    browser.open(PAGE)
    browser.until("a VM on its VF", shows("vm1", "VF", "low"))
    browser.until("a VM on the switch", shows("vm2", "switch", "none"))
    browser.until("nodes", "document.querySelectorAll('#nodes tbody tr').length === 2 && "
                           "document.querySelector('#nodes tbody').innerText.includes('1 of 7')")
    browser.until("healthy in one line", "!document.getElementById('healthy').hidden")
    choose(browser, "vm2", "low")
    browser.until("a VM is enabled", shows("vm2", "VF", "low"))
    assert level("vm2") == "low"
    choose(browser, "vm1", "none")
    browser.until("a VM is disabled", shows("vm1", "switch", "none"))
    assert level("vm1") is None
    choose(browser, "vm3", "high")
    browser.until("what is refused says why, and what helps",
                  "/High needs 4\\.\\s*Give the VM more vCPUs/.test(document.getElementById('error').innerText)")
    browser.until("and is shown as it is", shows("vm3", "switch", "none"))
    assert level("vm3") is None
    fake.stdin.close()
    assert fake.wait() == 0
    os.unlink(SOCKET)
    browser.open(PAGE)
    browser.until("nobody answers, with what helps",
                  "document.getElementById('error').innerText.includes('systemctl status accelnetd')")


FAULTS = [("notice", "parked since yesterday", None, 1), ("warning", "eth2 has no link", None, 2),
          ("critical", "a <b>VM</b> is nowhere", None, 3), ("critical", "somebody knows of it", {"at": "x", "by": "y"}, 0)]


class StandIn(http.server.BaseHTTPRequestHandler):
    """Answers in the API's form to who has a token: made-up nodes have no faults and want no token."""

    def do_GET(self):
        if self.headers.get("Authorization") != "Bearer accelnet-1.alice.secret":
            return self.answer(401, {"code": "not_authenticated", "detail": "No token.", "cure": "accelnet login"})
        faults = [{"id": str(i), "severity": severity, "evidence": evidence, "cure": "…", "acknowledged": known,
                   "since": f"2026-11-30T0{since}:00:00Z"} for i, (severity, evidence, known, since) in enumerate(FAULTS)]
        lists = {"/api/v1/faults": {"items": faults}, "/api/v1/status": {"nodes": [], "enabled": None}}
        return self.answer(200, lists.get(self.path, {"items": []}))

    def answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self):
        return "the page"

    def log_message(self, *_):
        pass


class StandInServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


def faults_and_tokens(browser):
    """The worst fault first, what somebody knows of last; a token is asked for, and used."""
    with StandInServer(SOCKET, StandIn) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser.open(PAGE)
        browser.until("a token is asked for", "!document.getElementById('token').hidden")
        browser.value("""{ const form = document.getElementById('token');
            form.elements.token.value = 'accelnet-1.alice.secret'; form.requestSubmit(); }""")
        browser.until("it is used", "document.querySelectorAll('#faults tbody tr').length === 4")
        found = browser.value("[...document.querySelectorAll('#faults tbody tr')].map(row => row.cells[1].innerText)")
        wanted = [FAULTS[i][1] for i in (2, 1, 0, 3)]
        assert found == wanted, f"FAILED: the worst first: {found}"
        print("ok: the worst fault first, as text")
        kept = browser.value("Object.keys(localStorage).concat(Object.keys(sessionStorage)).map(key =>"
                             " localStorage.getItem(key) + sessionStorage.getItem(key)).join()")
        assert "secret" not in kept, "FAILED: the token was written down"
        server.shutdown()


def main():
    os.makedirs(os.path.dirname(SOCKET))
    cockpit = subprocess.Popen(["/usr/lib/cockpit/cockpit-ws", "--no-tls", "--address=127.0.0.1", f"--port={PORT}",
                                "--local-session=cockpit-bridge"])
    # It tells nobody when it can be asked.
    while not listens(PORT):
        assert cockpit.poll() is None, "cockpit-ws has ended"
        threading.Event().wait(0.05)
    browser = Browser()
    made_up_nodes(browser)
    faults_and_tokens(browser)
    browser.process.terminate()
    cockpit.terminate()


main()
