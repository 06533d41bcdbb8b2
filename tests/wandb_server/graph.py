"""What the server answers to each GraphQL operation."""

import base64
import json
from typing import TYPE_CHECKING, Any

from wandb_server.state import ENTITY, Artifact, Run, Sweep

if TYPE_CHECKING:
    from wandb_server.server import Server


class Graph:
    """GraphQL operations: method name = operation, arguments = (variables); each returns `data`."""

    def __init__(self, state: "Server") -> None:
        self.state, self.url = state, state.url

    def Viewer(self, v: dict[str, Any]) -> Any:  # noqa: N802
        team = {"edges": [{"node": {"name": ENTITY}}]}
        return {
            "viewer": {
                "id": "viewer",
                "entity": ENTITY,
                "username": ENTITY,
                "email": "tester@localhost",
                "flags": "{}",
                "teams": team,
            }
        }

    GetDefaultEntity = Viewer

    def ServerFeaturesQuery(self, v: dict[str, Any]) -> Any:  # noqa: N802
        return {"serverInfo": {"features": []}}

    # ---- runs ---------------------------------------------------------------------------------------

    def UpsertBucket(self, v: dict[str, Any]) -> Any:  # noqa: N802
        state, id = self.state, v["name"]
        inserted = id not in state.runs
        groups = {key: v.get(key) for key in ("jobType", "groupName", "tags")}
        if inserted:
            entity, project = v.get("entity") or ENTITY, v.get("project") or "uncategorized"
            state.runs[id] = Run(id, entity, project, v.get("displayName") or id, v.get("sweep"), groups)
        run = state.runs[id]
        run.config |= json.loads(v.get("config") or "{}")
        run.groups |= {key: value for key, value in groups.items() if value is not None}
        bucket = {
            "id": id,
            "name": id,
            "displayName": run.name,
            "description": None,
            "config": json.dumps(run.config),
            "sweepName": run.sweep,
            "project": self._project(f"{run.entity}/{run.project}"),
            "historyLineCount": len(run.history),
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def RunResumeStatus(self, v: dict[str, Any]) -> Any:  # noqa: N802
        run = self.state.runs.get(v["name"])
        if run is None or not run.streams:
            return {"model": None}
        history = [json.dumps(row) for row in run.history]
        bucket = {
            "id": run.id,
            "name": run.id,
            "config": json.dumps(run.config),
            "wandbConfig": '{"t":{}}',
            "summaryMetrics": json.dumps(run.summary),
            "displayName": run.name,
            "historyLineCount": len(history),
            "eventsLineCount": len(run.streams.get("wandb-events.jsonl", {})),
            "logLineCount": len(run.streams.get("output.log", {})),
            "historyTail": json.dumps(history[-1:]),
            "eventsTail": "[]",
            "tags": run.groups.get("tags") or [],
            "notes": None,
        }
        return {"model": self._project(f"{run.entity}/{run.project}") | {"bucket": bucket}}

    def CreateRunFiles(self, v: dict[str, Any]) -> Any:  # noqa: N802
        files = [{"name": n, "uploadUrl": f"{self.url}/runfile/{v['run']}/{n}"} for n in v["files"]]
        return {"createRunFiles": {"runID": v["run"], "uploadHeaders": [], "files": files}}

    # ---- artifacts in -------------------------------------------------------------------------------

    def ArtifactType(self, v: dict[str, Any]) -> Any:  # noqa: N802
        project, (collection, _, alias) = self._of(v), v["name"].partition(":")
        found = self.state.find(project, collection, alias)
        return {"project": {"artifact": found and {"artifactType": {"name": found.type}}}}

    def CreateArtifact(self, v: dict[str, Any]) -> Any:  # noqa: N802
        i, artifacts = v.get("input") or v, self.state.artifacts
        project, name = f"{i.get('entityName') or ENTITY}/{i['projectName']}", i["artifactCollectionName"]
        latest = self.state.find(project, name, "latest")
        wanted = [alias["alias"] for alias in i.get("aliases") or []]
        same = [
            a
            for a in artifacts.values()
            if (a.project, a.collection, a.digest) == (project, name, i["digest"])
        ]
        if same and same[0].state == "COMMITTED":
            made = same[0]
            self._alias(made, wanted)
        else:
            metadata = json.loads(i.get("metadata") or "{}")
            id = base64.b64encode(f"artifact{len(artifacts)}".encode()).decode()
            made = artifacts[id] = Artifact(
                id,
                project,
                name,
                i["artifactTypeName"],
                i["digest"],
                metadata,
                i["runName"],
                wanted,
                self.state.blobs,
            )
        sequence = {"latestArtifact": latest and {"id": latest.id}}
        return {
            "createArtifact": {"artifact": {"id": made.id, "state": made.state, "artifactSequence": sequence}}
        }

    def CreateArtifactManifest(self, v: dict[str, Any]) -> Any:  # noqa: N802
        id = v["artifactID"]
        file = {"id": f"file-{id}", "uploadUrl": f"{self.url}/manifest/{id}", "uploadHeaders": []}
        upload = file if v.get("includeUpload") else {"id": f"file-{id}"}
        return {"createArtifactManifest": {"artifactManifest": {"id": f"manifest-{id}", "file": upload}}}

    def CreateArtifactFiles(self, v: dict[str, Any]) -> Any:  # noqa: N802
        edges = []
        for file in (v.get("input") or v)["artifactFiles"]:
            md5 = base64.b64decode(file["md5"]).hex()
            edges.append(
                {
                    "storagePath": md5,
                    "uploadUrl": None if md5 in self.state.blobs else f"{self.url}/blob/{md5}",
                    "uploadHeaders": [],
                    "uploadMultipartUrls": None,
                    "artifact": {"id": file["artifactID"]},
                }
            )
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in edges]}}}

    def CommitArtifact(self, v: dict[str, Any]) -> Any:  # noqa: N802
        made = self.state.artifacts[v["artifactID"]]
        made.version = sum(
            a.collection == made.collection and a.project == made.project for a in self.state.committed()
        )
        made.state = "COMMITTED"
        self._alias(made, made.wanted)
        return {"commitArtifact": {"artifact": {"id": made.id, "digest": made.digest}}}

    def _alias(self, made: Artifact, aliases: list[str]) -> None:
        for other in self.state.committed():
            if (other.project, other.collection) == (made.project, made.collection):
                other.aliases -= {"latest", *aliases}
        made.aliases |= {"latest", *aliases}

    # ---- artifacts out ------------------------------------------------------------------------------

    def ArtifactByID(self, v: dict[str, Any]) -> Any:  # noqa: N802
        found = self.state.artifacts.get(v["id"])
        return {"artifact": found and self._artifact(found)}

    def ArtifactMembershipByName(self, v: dict[str, Any]) -> Any:  # noqa: N802
        project, (collection, _, alias) = self._of(v), v["name"].partition(":")
        found = self.state.find(project, collection, alias)
        membership = found and {
            "__typename": "ArtifactCollectionMembership",
            "id": f"membership-{found.id}",
            "versionIndex": found.version,
            "createdAt": "2026-01-01T00:00:00Z",
            "aliases": [{"__typename": "ArtifactAlias", "id": a, "alias": a} for a in sorted(found.aliases)],
            "artifactCollection": self._collection(found),
            "artifact": self._artifact(found),
        }
        return {"project": {"artifactCollectionMembership": membership}}

    def UseArtifact(self, v: dict[str, Any]) -> Any:  # noqa: N802
        found = self.state.artifacts[v["artifactID"]]
        self.state.used.append((v["runName"], f"{found.collection}:v{found.version}"))
        return {"useArtifact": {"artifact": self._artifact(found)}}

    def FetchArtifactManifest(self, v: dict[str, Any]) -> Any:  # noqa: N802
        file = {"directUrl": f"{self.url}/manifest/{v['id']}"}
        return {"artifact": {"currentManifest": {"file": file}}}

    def GetArtifactMembershipFileUrls(self, v: dict[str, Any]) -> Any:  # noqa: N802
        found = self.state.artifact(f"{self._of(v)}/{v['collection']}:{v['alias']}")
        nodes = [
            {"name": name, "directUrl": f"{self.url}/blob/{base64.b64decode(entry['digest']).hex()}"}
            for name, entry in found.contents.items()
        ]
        files = {"pageInfo": {"endCursor": None, "hasNextPage": False}, "edges": [{"node": n} for n in nodes]}
        collection = {"__typename": "ArtifactSequence", "artifactMembership": {"files": files}}
        return {"project": {"artifactCollection": collection}}

    def _of(self, v: dict[str, Any]) -> str:
        """entity/project of the variables, which operations name in two ways."""
        return (
            f"{v.get('entity') or v.get('entityName') or ENTITY}/{v.get('project') or v.get('projectName')}"
        )

    def _project(self, path: str) -> dict[str, Any]:
        entity, name = path.split("/")
        owner = {"__typename": "Entity", "id": entity, "name": entity}
        return {"__typename": "Project", "id": name, "internalId": name, "name": name, "entity": owner}

    def _collection(self, artifact: Artifact) -> dict[str, Any]:
        project = self._project(artifact.project)
        return {
            "__typename": "ArtifactSequence",
            "id": artifact.collection,
            "name": artifact.collection,
            "project": project,
        }

    def _artifact(self, artifact: Artifact) -> dict[str, Any]:
        aliases = [
            {
                "__typename": "ArtifactAlias",
                "id": a,
                "alias": a,
                "artifactCollection": self._collection(artifact),
            }
            for a in sorted(artifact.aliases)
        ]
        return {
            "__typename": "Artifact",
            "id": artifact.id,
            "artifactSequence": self._collection(artifact),
            "versionIndex": artifact.version,
            "artifactType": {"__typename": "ArtifactType", "name": artifact.type},
            "description": None,
            "metadata": json.dumps(artifact.metadata),
            "ttlDurationSeconds": -2,
            "ttlIsInherited": True,
            "tags": [],
            "historyStep": None,
            "state": artifact.state,
            "size": sum(entry.get("size", 0) for entry in artifact.contents.values())
            if artifact.manifest
            else 0,
            "digest": artifact.digest,
            "commitHash": None,
            "fileCount": len(artifact.contents) if artifact.manifest else 0,
            "createdAt": "2026-01-01T00:00:00Z",
            "updatedAt": None,
            "aliases": aliases,
        }

    # ---- sweeps -------------------------------------------------------------------------------------

    def UpsertSweep(self, v: dict[str, Any]) -> Any:  # noqa: N802
        id = v.get("id") or f"sweep{len(self.state.sweeps)}"
        project = f"{v.get('entityName') or ENTITY}/{v['projectName']}"
        sweep = self.state.sweeps[id] = Sweep(id, project, v["config"])
        named = {"name": sweep.id, "project": self._project(project)}
        return {"upsertSweep": {"sweep": named, "configValidationWarnings": []}}

    def SweepWithRuns(self, v: dict[str, Any]) -> Any:  # noqa: N802
        sweep = self.state.sweeps[v["sweep"]]
        found = {
            "id": sweep.id,
            "name": sweep.id,
            "displayName": None,
            "method": "grid",
            "state": "RUNNING",
            "description": None,
            "config": sweep.config,
            "createdAt": "2026-01-01T00:00:00Z",
            "heartbeatAt": None,
            "updatedAt": None,
            "earlyStopJobRunning": False,
            "controller": None,
            "scheduler": None,
            "runs": {"edges": []},
        }
        return {"project": {"sweep": found}}

    def CreateAgent(self, v: dict[str, Any]) -> Any:  # noqa: N802
        return {"createAgent": {"agent": {"id": v["sweep"]}}}

    def Heartbeat(self, v: dict[str, Any]) -> Any:  # noqa: N802
        sweep, commands = self.state.sweeps[v["id"]], []
        if not json.loads(v.get("runState") or "{}"):
            if sweep.queue:
                run, args = sweep.queue.pop(0)
                kind = "resume" if run in self.state.runs else "run"
                commands = [{"type": kind, "run_id": run, "program": "davis-exp", "args": args}]
            else:
                commands = [{"type": "exit"}]
        return {"agentHeartbeat": {"agent": {"id": sweep.id}, "commands": json.dumps(commands)}}
