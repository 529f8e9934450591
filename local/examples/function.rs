//! A function for the tests of the Lambda service: it uses the Runtime API over a plain socket and does what the
//! payload, or `GLIMPSE_TEST_INIT`, requests.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

struct RuntimeResponse {
    headers: Vec<(String, String)>,
    body: String,
}

fn call(method: &str, path: &str, body: &str) -> std::io::Result<RuntimeResponse> {
    let api = std::env::var("AWS_LAMBDA_RUNTIME_API").map_err(std::io::Error::other)?;
    let mut stream = TcpStream::connect(&api)?;
    write!(
        stream,
        "{method} /2018-06-01/runtime/{path} HTTP/1.1\r\nHost: {api}\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut stream = BufReader::new(stream);
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.trim().split_once(": ") {
            headers.push((name.to_lowercase(), value.to_owned()));
        }
    }
    let mut body = String::new();
    stream.read_to_string(&mut body)?;
    Ok(RuntimeResponse { headers, body })
}

fn print_line(text: &str) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

fn main() -> std::io::Result<()> {
    match std::env::var("GLIMPSE_TEST_INIT").as_deref() {
        Ok("error") => {
            call("POST", "init/error", r#"{"errorType":"Config","errorMessage":"S3_BUCKET is missing"}"#)?;
            std::process::exit(1);
        }
        Ok("exit") => std::process::exit(3),
        Ok("hang") => std::thread::sleep(Duration::from_mins(10)),
        _ => {}
    }
    print_line("cold start");
    loop {
        let work = call("GET", "invocation/next", "")?;
        let header = |wanted: &str| {
            work.headers.iter().find(|(name, _)| name == wanted).map_or("", |(_, value)| value).to_owned()
        };
        let id = header("lambda-runtime-aws-request-id");
        let command = |word: &str| {
            work.body.contains(&format!("\"{word}\"")) || work.body.contains(&format!("\\\"{word}\\\""))
        };
        if command("crash") {
            std::process::abort();
        } else if command("hang") {
            // A grandchild in another process group must be killed, too.
            use std::os::unix::process::CommandExt as _;
            let child = std::process::Command::new("sleep").arg("600").process_group(0).spawn()?;
            print_line(&format!("grandchild {}", child.id()));
            std::thread::sleep(Duration::from_mins(10));
        } else if command("fail") {
            call(
                "POST",
                &format!("invocation/{id}/error"),
                r#"{"errorType":"Refused","errorMessage":"no"}"#,
            )?;
        } else if command("rawPath") {
            // An invocation through the function URL: returns the payload and a header of its own.
            let echoed = work.body.replace('\\', "\\\\").replace('"', "\\\"");
            let body = format!(
                "{{\"statusCode\":201,\"headers\":{{\"etag\":\"\\\"e\\\"\"}},\"body\":\"{echoed}\"}}"
            );
            call("POST", &format!("invocation/{id}/response"), &body)?;
        } else if command("slow") {
            std::thread::sleep(Duration::from_millis(400));
            call("POST", &format!("invocation/{id}/response"), "null")?;
        } else if command("batch") {
            // Reports every message of the batch as failed whose body requests it.
            let mut failures = String::new();
            for piece in work.body.split("\"messageId\":\"").skip(1) {
                let message = &piece[..piece.find('"').unwrap_or(0)];
                if !failures.is_empty() {
                    failures.push(',');
                }
                failures.extend(["{\"itemIdentifier\":\"", message, "\"}"]);
            }
            call(
                "POST",
                &format!("invocation/{id}/response"),
                &format!("{{\"batchItemFailures\":[{failures}]}}"),
            )?;
        } else {
            print_line(&format!("working on {id}"));
            let body = format!(
                "{{\"deadline\":\"{}\",\"arn\":\"{}\",\"trace\":\"{}\",\"region\":\"{}\",\"home\":\"{}\"}}",
                header("lambda-runtime-deadline-ms"),
                header("lambda-runtime-invoked-function-arn"),
                header("lambda-runtime-trace-id"),
                std::env::var("AWS_REGION").unwrap_or_default(),
                std::env::var("HOME").unwrap_or_default(),
            );
            call("POST", &format!("invocation/{id}/response"), &body)?;
        }
    }
}
