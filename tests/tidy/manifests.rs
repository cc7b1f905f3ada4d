//! Goal: the house stays as it is drawn in ARCHITECTURE.md. Method: the manifests' dependencies on
//! crates of ours, compared with the arrows.

use std::collections::BTreeSet;

use crate::files;

/// Folder of each crate, its name, and which of ours it may use: those it points at, and those that
/// they point at. The binary is a client too: its commands and its demo go through the SDK.
const ARROWS: [(&str, &str, &[&str]); 7] = [
    ("protocol", "sampan-protocol", &[]),
    ("broker/core", "sampan-core", &["sampan-protocol"]),
    (
        "broker/storage",
        "sampan-storage",
        &["sampan-core", "sampan-protocol"],
    ),
    (
        "broker/cluster",
        "sampan-cluster",
        &["sampan-core", "sampan-protocol", "sampan-storage"],
    ),
    (
        "broker/server",
        "sampan",
        &[
            "sampan-client",
            "sampan-cluster",
            "sampan-core",
            "sampan-protocol",
            "sampan-storage",
        ],
    ),
    ("client", "sampan-client", &["sampan-protocol"]),
    (
        "bench",
        "sampan-bench",
        &["sampan-client", "sampan-protocol"],
    ),
];

fn manifest(folder: &str) -> toml::Table {
    let path = files::root().join(folder).join("Cargo.toml");
    let text = std::fs::read_to_string(&path).expect("each crate has a manifest");
    text.parse()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Names of everything that a manifest depends on, in whatever section.
fn dependencies(manifest: &toml::Table) -> BTreeSet<String> {
    let sections = ["dependencies", "dev-dependencies", "build-dependencies"];
    let tables = sections
        .iter()
        .filter_map(|section| manifest.get(*section)?.as_table());
    tables.flat_map(|table| table.keys().cloned()).collect()
}

#[test]
fn crates_use_each_other_only_as_drawn() {
    for (folder, name, allowed) in ARROWS {
        let manifest = manifest(folder);
        assert_eq!(manifest["package"]["name"].as_str(), Some(name), "{folder}");
        assert!(
            manifest.get("target").is_none(),
            "{folder}: dependencies by platform"
        );
        let used = dependencies(&manifest);
        let ours: Vec<_> = used
            .iter()
            .filter(|name| name.starts_with("sampan"))
            .collect();
        let strangers: Vec<_> = ours
            .iter()
            .filter(|name| !allowed.contains(&name.as_str()))
            .collect();
        assert!(strangers.is_empty(), "{name} must not use {strangers:?}");
    }
}

#[test]
fn every_member_of_the_workspace_is_in_the_house() {
    let members = &manifest("")["workspace"]["members"];
    let members: BTreeSet<_> = members
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|member| member.as_str())
        .collect();
    assert_eq!(members, ARROWS.iter().map(|(folder, ..)| *folder).collect());
}

#[test]
fn only_the_cluster_crate_names_openraft() {
    for (folder, name, _) in ARROWS {
        let names_it = dependencies(&manifest(folder))
            .iter()
            .any(|used| used.contains("openraft"));
        assert_eq!(names_it, folder == "broker/cluster", "{name}");
    }
    let sources = files::with_extension("", "rs").into_iter();
    let outside = sources.filter(|(name, _)| !name.starts_with("broker/cluster/"));
    // Spelt in two, or this file would name it.
    let path = ["openraft", "::"].concat();
    let complaints: Vec<_> = outside
        .filter(|(_, text)| text.contains(&path))
        .map(|(name, _)| name)
        .collect();
    files::assert_none(&complaints);
}

#[test]
fn versions_of_dependencies_are_named_in_one_place() {
    let mut complaints = Vec::new();
    for (folder, name, _) in ARROWS {
        let manifest = manifest(folder);
        let sections = ["dependencies", "dev-dependencies"];
        let tables = sections
            .iter()
            .filter_map(|section| manifest.get(*section)?.as_table());
        for (used, value) in tables.flatten() {
            if value.get("workspace").and_then(toml::Value::as_bool) != Some(true) {
                complaints.push(format!("{name}: {used} does not come from the workspace"));
            }
        }
    }
    files::assert_none(&complaints);
}
