//! Running commands inside a guest, over its virtual socket (vsock(7)).
//!
//! One connection runs one command. The client sends a line of JSON ([`Request`]), then frames; the
//! agent answers with frames. A frame is a kind (one byte), a length (u32, big-endian) and that many
//! bytes. The network under test is not touched.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    os::unix::net::UnixStream,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// Where the agent listens.
pub const PORT: u32 = 1024;

const FRAME_LIMIT: u32 = 1 << 20;
const STDIN: u8 = 0;
const STDIN_END: u8 = 1;
const STDOUT: u8 = 2;
const STDERR: u8 = 3;
const EXIT: u8 = 4;

/// A command to run.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// Program and arguments.
    pub argv: Vec<String>,
}

fn write_frame(mut to: impl Write, kind: u8, data: &[u8]) -> io::Result<()> {
    let mut frame = Vec::with_capacity(5 + data.len());
    frame.push(kind);
    frame.extend_from_slice(&u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend_from_slice(data);
    to.write_all(&frame)
}

fn read_frame(mut from: impl Read) -> Result<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    from.read_exact(&mut head)?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    if length > FRAME_LIMIT {
        bail!("a frame of {length} bytes");
    }
    let mut data = vec![0; length as usize];
    from.read_exact(&mut data)?;
    Ok((head[0], data))
}

/// A stream socket of the virtual socket family. It reads and writes like a unix socket, whose type
/// it borrows: both are plain stream sockets to read(2), write(2) and shutdown(2).
fn vsock() -> Result<OwnedFd> {
    // SAFETY: socket(2) takes no pointers; a result >= 0 is a new descriptor that we own.
    let fd = unsafe { libc::socket(libc::AF_VSOCK, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error()).context("no virtual sockets (module vhost_vsock)");
    }
    // SAFETY: as above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn address(cid: u32) -> libc::sockaddr_vm {
    // SAFETY: sockaddr_vm is plain data for which zero is a valid value.
    let mut address: libc::sockaddr_vm = unsafe { std::mem::zeroed() };
    address.svm_family = libc::AF_VSOCK as libc::sa_family_t;
    address.svm_cid = cid;
    address.svm_port = PORT;
    address
}

/// Connects to the agent of the guest with this context id.
pub fn connect(cid: u32) -> Result<UnixStream> {
    let fd = vsock()?;
    let address = address(cid);
    let size = size_of::<libc::sockaddr_vm>() as libc::socklen_t;
    // SAFETY: the pointer and size are those of a live sockaddr_vm.
    let result = unsafe { libc::connect(fd.as_raw_fd(), (&raw const address).cast(), size) };
    if result < 0 {
        return Err(io::Error::last_os_error())
            .with_context(|| format!("guest {cid} does not answer"));
    }
    Ok(UnixStream::from(fd))
}

/// Runs a command in a guest with our own standard streams; its exit code.
pub fn run(cid: u32, argv: Vec<String>) -> Result<i32> {
    let stream = connect(cid)?;
    let mut out = &stream;
    writeln!(out, "{}", serde_json::to_string(&Request { argv })?)?;
    let input = stream.try_clone()?;
    // Ends with the process: standard input cannot be waited for and given up at once.
    thread::spawn(move || forward_input(&input));
    loop {
        match read_frame(&stream).context("the guest went away")? {
            (STDOUT, data) => {
                io::stdout().write_all(&data)?;
                io::stdout().flush()?;
            }
            (STDERR, data) => io::stderr().write_all(&data)?,
            (EXIT, data) => {
                let code: [u8; 4] = data.try_into().ok().context("a cut-off exit code")?;
                return Ok(i32::from_be_bytes(code));
            }
            (kind, _) => bail!("a frame of unknown kind {kind}"),
        }
    }
}

fn forward_input(stream: &UnixStream) {
    let mut buffer = [0; 16 * 1024];
    loop {
        match io::stdin().read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(read) => {
                if write_frame(stream, STDIN, &buffer[..read]).is_err() {
                    return;
                }
            }
        }
    }
    let _ = write_frame(stream, STDIN_END, &[]);
}

/// The agent: serves connections for ever, each in its own thread.
pub fn serve() -> Result<()> {
    let fd = vsock()?;
    let address = address(libc::VMADDR_CID_ANY);
    let size = size_of::<libc::sockaddr_vm>() as libc::socklen_t;
    // SAFETY: the pointer and size are those of a live sockaddr_vm.
    if unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), size) } < 0 {
        return Err(io::Error::last_os_error()).context("the agent's port is taken");
    }
    // SAFETY: listen(2) takes no pointers.
    if unsafe { libc::listen(fd.as_raw_fd(), 64) } < 0 {
        return Err(io::Error::last_os_error()).context("the agent cannot listen");
    }
    loop {
        // SAFETY: null address pointers are allowed; a result >= 0 is a new descriptor.
        let client = unsafe {
            libc::accept4(
                fd.as_raw_fd(),
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                libc::SOCK_CLOEXEC,
            )
        };
        if client < 0 {
            return Err(io::Error::last_os_error()).context("the agent cannot accept");
        }
        // SAFETY: as above, we own it.
        let stream = UnixStream::from(unsafe { OwnedFd::from_raw_fd(client) });
        thread::spawn(move || {
            if let Err(error) = serve_one(&stream) {
                let _ = write_frame(&stream, STDERR, format!("{error:#}\n").as_bytes());
                let _ = write_frame(&stream, EXIT, &127i32.to_be_bytes());
            }
            let _ = stream.shutdown(Shutdown::Both);
        });
    }
}

fn serve_one(stream: &UnixStream) -> Result<()> {
    let mut line = Vec::new();
    let mut byte = [0];
    let mut reader = stream;
    loop {
        reader.read_exact(&mut byte)?;
        if byte[0] == b'\n' {
            break;
        }
        line.push(byte[0]);
    }
    let request: Request = serde_json::from_slice(&line)?;
    let (program, arguments) = request.argv.split_first().context("no command")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("'{program}' cannot be run in the guest"))?;
    let stdin = child.stdin.take();
    let input = stream.try_clone()?;
    thread::spawn(move || {
        let Some(mut stdin) = stdin else { return };
        while let Ok((STDIN, data)) = read_frame(&input) {
            if stdin.write_all(&data).is_err() {
                return;
            }
        }
    });
    // Frames of both outputs must not mix.
    let writer = Arc::new(Mutex::new(stream.try_clone()?));
    let out = child
        .stdout
        .take()
        .map(|pipe| forward_output(pipe, STDOUT, Arc::clone(&writer)));
    let err = child
        .stderr
        .take()
        .map(|pipe| forward_output(pipe, STDERR, Arc::clone(&writer)));
    for thread in [out, err].into_iter().flatten() {
        let _ = thread.join();
    }
    let code = child.wait()?.code().unwrap_or(255);
    write_frame(stream, EXIT, &code.to_be_bytes())?;
    Ok(())
}

fn forward_output(
    mut pipe: impl Read + Send + 'static,
    kind: u8,
    writer: Arc<Mutex<UnixStream>>,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut buffer = vec![0; 32 * 1024];
        while let Ok(read) = pipe.read(&mut buffer) {
            let Ok(writer) = writer.lock() else { return };
            if read == 0 || write_frame(&*writer, kind, &buffer[..read]).is_err() {
                return;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_over_pair(argv: &[&str], input: &[u8]) -> (i32, Vec<u8>, Vec<u8>) {
        let (client, agent) = UnixStream::pair().unwrap();
        let served = thread::spawn(move || serve_one(&agent));
        let request = Request {
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        };
        writeln!(&client, "{}", serde_json::to_string(&request).unwrap()).unwrap();
        write_frame(&client, STDIN, input).unwrap();
        write_frame(&client, STDIN_END, &[]).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        loop {
            match read_frame(&client).unwrap() {
                (STDOUT, data) => out.extend(data),
                (STDERR, data) => err.extend(data),
                (_, code) => {
                    served.join().unwrap().unwrap();
                    return (i32::from_be_bytes(code.try_into().unwrap()), out, err);
                }
            }
        }
    }

    #[test]
    fn streams_and_exit_code_pass_through() {
        let (code, out, err) = run_over_pair(&["sh", "-c", "cat; echo bad >&2; exit 7"], b"hello");
        assert_eq!(
            (code, out.as_slice(), err.as_slice()),
            (7, &b"hello"[..], &b"bad\n"[..])
        );
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused() {
        assert!(read_frame(&[STDOUT, 0xff, 0xff, 0xff, 0xff][..]).is_err());
        assert!(read_frame(&[STDOUT, 0, 0, 0, 9, 1][..]).is_err());
    }
}
