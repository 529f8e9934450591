//! Finds the process groups of a program's descendants: a grandchild may have left the group of its parent.

use std::collections::{BTreeSet, HashMap};
use std::fs;

/// The groups of the process and of all its descendants. Empty on systems without `/proc`.
pub(crate) fn descendant_groups(root: i32) -> BTreeSet<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    let mut group_by_pid = HashMap::new();
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeSet::new() };
    for entry in entries.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if let Some((parent, group)) = parse_stat(&stat) {
            children.entry(parent).or_default().push(pid);
            group_by_pid.insert(pid, group);
        }
    }
    let mut groups = BTreeSet::new();
    let mut pending = vec![root];
    while let Some(pid) = pending.pop() {
        groups.extend(group_by_pid.get(&pid));
        pending.extend(children.remove(&pid).unwrap_or_default());
    }
    groups
}

/// Parses the parent and the group from `/proc/PID/stat`; the name in the middle may contain any character, so parsing
/// starts at its end.
fn parse_stat(stat: &str) -> Option<(i32, i32)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut words = rest.split_whitespace().skip(1);
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

/// The peak memory of the process, in bytes.
pub(crate) fn peak_memory_bytes(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_stat_with_parenthesis_in_name() {
        assert_eq!(parse_stat("7 (a) b) S 1 5 5 0"), Some((1, 5)));
        assert_eq!(parse_stat(""), None);
    }
}
