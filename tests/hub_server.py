"""A Hugging Face Hub of this machine: the HTTP routes that its client calls, on a free port.

Revisions are kept in memory, each with all its files, so that a test can change one as somebody
with write access to the repository could.
"""

import hashlib
import json
import threading
import time
from base64 import b64decode
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from served import free_port

TOKEN = "hf_token_of_the_tests"
LARGE = (".npz", ".ubj")  # what the Hub keeps beside the commits


def digest(content):
    return hashlib.sha256(content).hexdigest()


class Hub:
    """Repositories by name: `commits`, files by commit and path, and `refs`, commits by branch or
    tag. `asked` lists method and path of the requests.
    """

    def __init__(self):
        self.commits, self.refs, self.private = {}, {}, {}
        self.objects, self.asked, self.url = {}, [], ""

    def find(self, repo, revision):
        "The commit of a branch, a tag or a commit; raises KeyError."
        commit = self.refs[repo].get(revision, revision)
        return commit, self.commits[repo][commit]

    def files(self, repo, revision="main"):
        return self.find(repo, revision)[1]

    def commit(self, repo, branch, files):
        "A new commit at the end of a branch."
        names = json.dumps([len(self.commits[repo]), sorted(files)])
        commit = hashlib.sha1(names.encode()).hexdigest()
        self.commits[repo][commit], self.refs[repo][branch] = files, commit
        return commit

    def create(self, repo, private):
        self.commits[repo], self.refs[repo], self.private[repo] = {}, {}, private
        self.commit(repo, "main", {".gitattributes": b"*.npz filter=lfs\n"})

    def change(self, repo, **files):
        "What somebody with write access does; None deletes a file."
        names = {name.replace("__", "."): content for name, content in files.items()}
        kept = {n: c for n, c in (self.files(repo) | names).items() if c is not None}
        return self.commit(repo, "main", kept)


def not_found(kind):
    return JSONResponse({"error": kind}, 404, headers={"X-Error-Code": kind})


def application(hub):
    "The routes, which all want the token."
    app = FastAPI()

    @app.middleware("http")
    async def guard(request: Request, call_next):
        hub.asked.append(f"{request.method} {request.url.path}")
        given = request.headers.get("Authorization") == f"Bearer {TOKEN}"
        if not given and not request.url.path.startswith("/objects/"):
            return JSONResponse({"error": "Invalid username or password."}, 401)
        return await call_next(request)

    @app.post("/api/repos/create")
    async def create(request: Request):
        body = await request.json()
        repo = f"{body['organization']}/{body['name']}"
        if repo in hub.refs:
            return JSONResponse({"url": f"{hub.url}/{repo}"}, 409)
        hub.create(repo, body.get("visibility") == "private")
        return {"url": f"{hub.url}/{repo}"}

    @app.post("/api/validate-yaml")
    async def validate(request: Request):
        return {"errors": [], "warnings": []}

    @app.get("/api/models/{org}/{name}")
    @app.get("/api/models/{org}/{name}/revision/{revision}")
    async def model_info(org, name, revision="main"):
        if (repo := f"{org}/{name}") not in hub.refs:
            return not_found("RepoNotFound")
        try:
            commit, files = hub.find(repo, revision)
        except KeyError:
            return not_found("RevisionNotFound")
        siblings = [{"rfilename": path} for path in files]
        return {"id": repo, "sha": commit, "private": hub.private[repo], "siblings": siblings}

    @app.get("/api/models/{org}/{name}/tree/{revision}")
    async def tree(org, name, revision):
        return [
            {"type": "file", "path": path, "size": len(content), "oid": digest(content)[:40]}
            for path, content in hub.files(f"{org}/{name}", revision).items()
        ]

    @app.post("/api/models/{org}/{name}/preupload/{revision}")
    async def preupload(request: Request):
        files = (await request.json())["files"]
        mode = {True: "lfs", False: "regular"}
        return {
            "files": [
                {
                    "path": file["path"],
                    "uploadMode": mode[file["path"].endswith(LARGE)],
                    "shouldIgnore": False,
                }
                for file in files
            ]
        }

    add_commit_routes(app, hub)
    add_reference_routes(app, hub)
    return app


def apply_line(hub, files, key, value):
    "Does to the files of a commit what one line of its body says."
    if key == "file":
        files[value["path"]] = b64decode(value["content"])
    elif key == "lfsFile":
        files[value["path"]] = hub.objects[value["oid"]]
    elif key == "deletedFile":
        del files[value["path"]]


def add_commit_routes(app, hub):
    @app.post("/{org}/{name}.git/info/lfs/objects/batch")
    async def batch(request: Request):
        wanted = (await request.json())["objects"]
        for one in wanted:
            href = f"{hub.url}/objects/{one['oid']}"
            one["actions"] = {"upload": {"href": href, "header": {}}}
        return {"transfer": "basic", "objects": wanted}

    @app.put("/objects/{oid}")
    async def upload(oid, request: Request):
        hub.objects[oid] = await request.body()

    @app.post("/api/models/{org}/{name}/commit/{branch}")
    async def commit(org, name, branch, request: Request):
        repo = f"{org}/{name}"
        head, files = hub.find(repo, branch)
        files = dict(files)
        for line in (await request.body()).splitlines():
            key, value = (one := json.loads(line))["key"], one["value"]
            if key == "header" and value.get("parentCommit", head) != head:
                return JSONResponse({"error": "the branch has moved"}, 412)
            apply_line(hub, files, key, value)
        made = hub.commit(repo, branch, files)
        return {"commitUrl": f"{hub.url}/{repo}/commit/{made}", "commitOid": made}


def add_reference_routes(app, hub):
    @app.post("/api/models/{org}/{name}/tag/{revision}")
    async def tag(org, name, revision, request: Request):
        repo, made = f"{org}/{name}", (await request.json())["tag"]
        if made in hub.refs[repo]:
            return JSONResponse({"error": "the tag exists"}, 409)
        hub.refs[repo][made] = hub.find(repo, revision)[0]
        return {}

    @app.delete("/api/models/{org}/{name}/tag/{tag}")
    async def delete_tag(org, name, tag):
        del hub.refs[f"{org}/{name}"][tag]

    @app.post("/api/models/{org}/{name}/branch/{branch}")
    async def add_branch(org, name, branch):
        refs = hub.refs[f"{org}/{name}"]
        if branch in refs:
            return JSONResponse({"error": "the branch exists"}, 409)
        refs[branch] = refs["main"]
        return {}

    @app.api_route("/{org}/{name}/resolve/{revision}/{path:path}", methods=["GET", "HEAD"])
    async def resolve(org, name, revision, path):
        commit, files = hub.find(f"{org}/{name}", revision)
        if path not in files:
            return not_found("EntryNotFound")
        headers = {"ETag": f'"{digest(files[path])}"', "X-Repo-Commit": commit}
        return Response(files[path], headers=headers, media_type="application/octet-stream")


@contextmanager
def running_hub():
    "A Hub that answers as long as the block lasts."
    from huggingface_hub import constants

    hub, port = Hub(), free_port()
    xet, constants.HF_HUB_DISABLE_XET = constants.HF_HUB_DISABLE_XET, True  # this Hub has none
    hub.url = f"http://127.0.0.1:{port}"
    server = uvicorn.Server(
        uvicorn.Config(application(hub), port=port, log_level="warning", lifespan="off")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield hub
    finally:
        constants.HF_HUB_DISABLE_XET = xet
        server.should_exit = True
        thread.join(10)
