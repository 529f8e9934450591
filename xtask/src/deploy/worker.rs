//! Generates the configuration of the deployed Worker: wrangler.toml with the addresses and the bucket of this
//! deployment. Pure functions.

use std::path::Path;

use super::plan::StackOutputs;
use super::settings::is_workers_dev;

/// The text of the configuration. Its paths are absolute, because the file is not in the checkout `root`.
///
/// With a custom domain, the Worker's address on workers.dev and those of its previews are disabled: nothing is cached
/// there, and every request would be read from S3. Once the bucket is known, the page can send uploads only to this
/// bucket.
pub(super) fn render_config(
    wrangler_toml: &str,
    root: &Path,
    origin: &str,
    outputs: Option<&StackOutputs>,
) -> String {
    let bucket =
        outputs.map(|outputs| custom_endpoint(wrangler_toml).unwrap_or_else(|| outputs.bucket_origin()));
    let absolute = |path: &str| root.join(path.trim_matches('"')).display().to_string();
    let address_lines =
        [format!("workers_dev = {}", is_workers_dev(origin)), "preview_urls = false".to_owned()];
    let mut lines: Vec<String> = Vec::new();
    let mut section = String::new();
    for line in wrangler_toml.lines() {
        let name = line.split('=').next().unwrap_or_default().trim();
        if line.starts_with('[') {
            if section.is_empty() {
                lines.extend(address_lines.clone());
            }
            line.trim().clone_into(&mut section);
        }
        match (section.as_str(), name, line.split_once('=')) {
            ("", "workers_dev" | "preview_urls", Some(_)) | ("[build]", "cwd", Some(_)) => {}
            ("", "main", Some((_, path))) => lines.push(format!("main = {:?}", absolute(path.trim()))),
            ("[assets]", "directory", Some((_, path))) => {
                lines.push(format!("directory = {:?}", absolute(path.trim())));
            }
            ("[build]", "command", Some((_, command))) => {
                let command = command.trim().trim_matches('"');
                let connect = bucket.as_ref().map(|origin| format!(" --connect {origin}"));
                lines.push(format!("command = \"{command}{}\"", connect.unwrap_or_default()));
                lines.push(format!("cwd = {:?}", root.display().to_string()));
            }
            _ => lines.push(line.to_owned()),
        }
    }
    if section.is_empty() {
        lines.extend(address_lines);
    }
    lines.join("\n") + "\n"
}

/// The page's `_headers` for this deployment, for a page that was built before the bucket was known.
pub(super) fn render_page_headers(headers: &str, text: &str, outputs: &StackOutputs) -> String {
    let bucket = custom_endpoint(text).unwrap_or_else(|| outputs.bucket_origin());
    headers.replace("connect-src 'self' https:;", &format!("connect-src 'self' {bucket};"))
}

/// The origin of an S3-compatible service other than AWS, if wrangler.toml contains one.
fn custom_endpoint(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == "S3_ENDPOINT").then(|| value.trim().trim_matches('"').to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs() -> StackOutputs {
        StackOutputs::parse(&serde_json::json!({
            "BucketName": "b", "Region": "eu-central-1", "RenderUrl": "https://id.example/", "EdgeUserName": "edge"
        }))
        .unwrap()
    }

    fn project() -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("wrangler.toml");
        std::fs::read_to_string(path).unwrap()
    }

    fn count(config: &str, line: &str) -> usize {
        config.lines().filter(|other| *other == line).count()
    }

    #[test]
    fn custom_domain_disables_workers_dev() {
        for text in [project(), project().replace("workers_dev = false", "workers_dev = true")] {
            let config = render_config(&text, Path::new("/p"), "https://video.example", Some(&outputs()));
            assert_eq!(
                (count(&config, "workers_dev = false"), count(&config, "preview_urls = false")),
                (1, 1)
            );
            assert_eq!(count(&config, "workers_dev = true"), 0, "{config}");
            let place = config.find("workers_dev = false").unwrap();
            assert!(place < config.find("\n[").unwrap(), "it must be in the top-level table");
        }
        let bare = render_config("name = \"x\"", Path::new("/p"), "https://video.example", None);
        assert_eq!(bare, "name = \"x\"\nworkers_dev = false\npreview_urls = false\n");
    }

    #[test]
    fn workers_dev_is_enabled_without_domain() {
        let config =
            render_config(&project(), Path::new("/p"), "https://glimpse.me.workers.dev", Some(&outputs()));
        assert_eq!((count(&config, "workers_dev = true"), count(&config, "preview_urls = false")), (1, 1));
        assert!(!is_workers_dev("https://workers.dev.example"));
    }

    #[test]
    fn page_connects_only_to_bucket() {
        let of = |text: &str, outputs: Option<&StackOutputs>| {
            render_config(text, Path::new("/p"), "https://v.example", outputs)
        };
        let aws = of(&project(), Some(&outputs()));
        let command = "command = \"[ ${GLIMPSE_PREBUILT:-0} = 1 ] || cargo xtask build edge page --connect https://b.s3.eu-central-1.amazonaws.com\"";
        assert_eq!((count(&aws, command), count(&aws, "cwd = \"/p\"")), (1, 1), "{aws}");
        let other = project().replace("# S3_ENDPOINT", "S3_ENDPOINT");
        assert!(of(&other, Some(&outputs())).contains("--connect https://s3.example.com\""));
        assert!(!of(&project(), None).contains("--connect"));
    }

    #[test]
    fn prebuilt_page_connects_only_to_bucket() {
        let built =
            "  Content-Security-Policy: default-src 'self'; connect-src 'self' https:; img-src 'self'\n";
        let headers = render_page_headers(built, &project(), &outputs());
        assert!(
            headers.contains("connect-src 'self' https://b.s3.eu-central-1.amazonaws.com; img-src"),
            "{headers}"
        );
        assert_eq!(
            render_page_headers(&headers, &project(), &outputs()),
            headers,
            "the second call changes nothing"
        );
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("web/build.mjs");
        let script = std::fs::read_to_string(script).unwrap();
        assert!(
            script.contains("`connect-src 'self' ${targets.join(\" \")}`") && script.contains("[\"https:\"]")
        );
    }

    #[test]
    fn paths_are_absolute() {
        let config = render_config(&project(), Path::new("/p"), "https://v.example", None);
        assert_eq!(count(&config, "main = \"/p/edge/entry.js\""), 1, "{config}");
        assert_eq!(count(&config, "directory = \"/p/web/dist\""), 1, "{config}");
    }
}
