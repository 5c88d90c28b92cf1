"""Send a plan to the Hub in one commit, and look there whether it arrived.

Every step can be repeated: files that the Hub already has are not sent again, and a commit names the one that it
follows, so that neither a lost answer nor a second publisher leaves a mixture. May depend on `publish_plan`,
`data` and `errors`; `huggingface_hub` is imported when something is sent.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, TypeVar

from hf_fracture.data.hub_errors import (
    PATIENCE_SECONDS,
    WAITS_SECONDS,
    find_hub_error,
    is_transient,
    read_status,
    retry_transient,
)
from hf_fracture.errors import FractureError, PublishError, UsageError
from hf_fracture.hub.publish_plan import PlannedFile, UploadPlan

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_MAIN: Final = "main"
_Result = TypeVar("_Result")


@dataclass(frozen=True, kw_only=True)
class PublishOptions:
    """Where a plan goes, and for whom.

    Attributes:
        private: Only you and those you name may see the repository.
        revision: Branch to commit to, made if need be; None for main.
        create_pr: Open a pull request instead.
        tag: Name for the new commit.
        collection: Slug of the collection to add the repository to.
        gated: Who may download: everyone who accepts the terms, or whom you let.
    """

    private: bool = False
    revision: str | None = None
    create_pr: bool = False
    tag: str | None = None
    collection: str | None = None
    gated: Literal["auto", "manual"] | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be done together."""
        if self.create_pr and (self.revision or self.tag):
            raise UsageError(
                "--create-pr must stand without --revision and --tag: a pull request goes to main, and its commit is "
                "named once it is merged."
            )


@dataclass(frozen=True, kw_only=True)
class Publication:
    """What the Hub has now.

    Attributes:
        url: Of the repository, or of the pull request.
        commit: Its hash; the revision to pin.
        usage: The lines with which others use it.
    """

    url: str
    commit: str
    usage: str


def check_repo_id(repo_id: str) -> None:
    """Refuse what the Hub would not take as a name.

    Raises:
        UsageError: If it is not `owner/name`.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise UsageError(f"REPO_ID must be owner/name, got '{repo_id}': {str(error).splitlines()[0]}") from error
    if repo_id.count("/") != 1:
        raise UsageError(f"REPO_ID must be owner/name, got '{repo_id}'. Put your account's name before it.")


def publish(plan: UploadPlan, repo_id: str, options: PublishOptions | None = None) -> Publication:
    """Make the repository if there is none, and add one commit that makes it hold the plan.

    Args:
        plan: What goes.
        repo_id: `owner/name`.
        options: How; None for a public repository and its main branch.

    Returns:
        What the Hub has now; it was read back and compared.

    Raises:
        UsageError: If the name is none.
        PublishError: If the Hub did not take it: in one sentence why, what is there now, and what to do.
    """
    from huggingface_hub import HfApi

    check_repo_id(repo_id)
    sender = _Sender(HfApi(library_name="hf-fracture"), plan, repo_id, options or PublishOptions())
    return sender.send()


class _Sender:
    """One publication under way."""

    def __init__(self, api: "HfApi", plan: UploadPlan, repo_id: str, options: PublishOptions) -> None:
        self._api, self._plan, self._repo_id, self._options = api, plan, repo_id, options
        self._repo: dict[str, Any] = {"repo_id": repo_id, "repo_type": plan.kind}
        self._branch = options.revision or _MAIN

    def send(self) -> Publication:
        address = self._prepare_repository()
        parent = self._try(lambda: self._read_head())
        self._check_tag(parent)
        commit, pull_request = self._commit(parent)
        self._finish(commit)
        usage = self._plan.usage.format(repo_id=self._repo_id, revision=commit)
        return Publication(url=pull_request or address, commit=commit, usage=usage)

    def _prepare_repository(self) -> str:
        """Make the repository and its branch, and set who may see it before anything is in it."""
        options = self._options
        url = self._try(
            lambda: self._api.create_repo(
                **self._repo, private=options.private or None, exist_ok=True, space_sdk=self._plan.space_sdk
            )
        )
        if options.private and not self._try(lambda: self._api.repo_info(**self._repo)).private:
            raise PublishError(
                f"Expected {self._repo_id} to be private, but it exists and is public. Make it private on its page, or "
                "leave --private out. Nothing was sent."
            )
        if options.gated:
            self._try(lambda: self._api.update_repo_settings(**self._repo, gated=options.gated))
        if self._branch != _MAIN:
            self._try(lambda: self._api.create_branch(**self._repo, branch=self._branch, exist_ok=True))
        return str(url)

    def _read_head(self, revision: str | None = None) -> str:
        return str(self._api.repo_info(**self._repo, revision=revision or self._branch).sha)

    def _check_tag(self, parent: str) -> None:
        """Refuse a tag that names another commit, before anything is sent: a tag does not move."""
        tagged = self._find_tag()
        if tagged not in (None, parent):
            raise PublishError(
                f"Expected no tag '{self._options.tag}' in {self._repo_id}, but it names commit {tagged[:12]}. Choose "
                "another --tag. Nothing was sent."
            )

    def _find_tag(self) -> str | None:
        from huggingface_hub.errors import RevisionNotFoundError

        if self._options.tag is None:
            return None
        try:
            return self._try(lambda: self._read_head(self._options.tag))
        except PublishError as error:
            if isinstance(error.__cause__, RevisionNotFoundError):
                return None
            raise

    def _commit(self, parent: str) -> tuple[str, str | None]:
        """Upload what the Hub does not have, commit, and compare what is there; a lost answer is no failure."""
        start = time.monotonic()
        for wait in (*WAITS_SECONDS, None):
            try:
                commit, pull_request, revision = self._commit_once(parent)
            except Exception as error:  # noqa: BLE001 _fail raises it again
                if self._has_arrived(parent, error):
                    return self._try(lambda: self._read_head()), None
                is_last = wait is None or time.monotonic() - start > PATIENCE_SECONDS
                if self._options.create_pr and is_transient(error):
                    self._fail(error, f"See first whether a pull request was opened in {self._repo_id}. ")
                if is_last or not is_transient(error):
                    self._fail(error)
                time.sleep(wait or 0.0)
                continue
            self._check_arrival(revision)
            return commit, pull_request
        raise AssertionError("the last try returns or raises")

    def _commit_once(self, parent: str) -> tuple[str, str | None, str]:
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        present = self._list_remote(parent)
        wanted = {file.path for file in self._plan.files}
        stale = sorted(path for path in present if path not in wanted and self._plan.owns(path))
        info = self._api.create_commit(
            **self._repo,
            operations=[
                *(CommitOperationAdd(file.path, file.content) for file in self._plan.files),
                *(CommitOperationDelete(path) for path in stale),
            ],
            commit_message=f"Publish the {self._plan.kind} with hf-fracture",
            revision=self._options.revision,
            create_pr=self._options.create_pr,
            parent_commit=parent,
        )
        return str(info.oid), info.pr_url, info.pr_revision or str(info.oid)

    def _list_remote(self, revision: str) -> Mapping[str, Any]:
        tree = self._api.list_repo_tree(**self._repo, recursive=True, revision=revision)
        return {entry.path: entry for entry in tree if hasattr(entry, "size")}

    def _has_arrived(self, parent: str, error: Exception) -> bool:
        """Tell whether a commit whose answer was lost is there all the same."""
        if not is_transient(error) or self._options.create_pr:
            return False
        head = self._try(lambda: self._read_head())
        return head != parent and not self._list_differences(head)

    def _check_arrival(self, revision: str) -> None:
        different = self._try(
            lambda: self._list_differences(revision),
            prefix=f"Commit {revision[:12]} was taken, but could not be read back: ",
        )
        if different:
            raise PublishError(
                f"Expected {self._repo_id} to hold what was sent, but {len(different)} file(s) differ there, the first "
                f"{different[0]}: the folder changed while it was sent. Run the same command again."
            )

    def _list_differences(self, revision: str) -> list[str]:
        """Return the files that the Hub does not hold as planned."""
        present = self._list_remote(revision)
        return [file.path for file in self._plan.files if not _is_same(file, present.get(file.path))]

    def _finish(self, commit: str) -> None:
        """Tag and collect; both may be there already."""
        options = self._options
        where = f"Commit {commit[:12]} is published, but"
        if options.tag is not None:
            tag = options.tag
            self._try(
                lambda: self._api.create_tag(**self._repo, tag=tag, revision=commit, exist_ok=True),
                prefix=f"{where} not tagged: ",
            )
            if self._find_tag() != commit:
                raise PublishError(f"{where} the tag '{tag}' names another commit. Choose another --tag and run again.")
        if options.collection is not None:
            slug = options.collection
            self._try(
                lambda: self._api.add_collection_item(slug, self._repo_id, self._plan.kind, exists_ok=True),
                prefix=f"{where} not in the collection '{slug}': ",
            )

    def _try(self, step: Callable[[], _Result], *, prefix: str = "") -> _Result:
        """Take a step that may be taken twice, again after a passing failure."""
        try:
            return retry_transient(step)
        except Exception as error:  # noqa: BLE001 _fail raises it again
            self._fail(error, prefix)

    def _fail(self, error: Exception, prefix: str = "") -> NoReturn:
        explained = self._explain(error, prefix)
        if explained is error:
            raise error
        raise explained from error

    def _explain(self, error: Exception, prefix: str = "") -> Exception:
        """Return the sentence for whoever publishes; an error of this machine, such as a full disk, stays itself."""
        cause = find_hub_error(error)
        if cause is None and isinstance(error.__cause__, OSError):  # the client wraps what happens in its threads
            return error.__cause__
        if cause is None and not isinstance(error, FractureError) and isinstance(error, _MISUNDERSTANDINGS):
            return PublishError(
                f"{prefix}The Hub at {self._api.endpoint} answered something that huggingface_hub does not understand "
                f"({error!r}). Check HF_ENDPOINT. {_RESUME}"
            )
        if cause is None:
            return error
        status = read_status(cause)
        known = _SENTENCES.get(status or 0)
        sentence = known or (_UNREACHABLE if status is None else _BROKEN)
        end = " Nothing was published." if known and not prefix else ""
        words = {"repo": self._repo_id, "kind": self._plan.kind, "status": status, "what": _first_line(cause)}
        return PublishError(prefix + sentence.format(**words) + end)


def _is_same(file: PlannedFile, entry: Any) -> bool:
    if entry is None or entry.size != file.num_bytes:
        return False
    return bool(file.hash_sha256() == entry.lfs.sha256 if entry.lfs else file.hash_git() == entry.blob_id)


def _first_line(error: Exception) -> str:
    lines: Sequence[str] = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


_MISUNDERSTANDINGS: Final = (KeyError, ValueError, TypeError, AttributeError)  # of the client, over a strange answer
_RESUME: Final = "Run the same command again: what was uploaded is not sent twice."
_EITHER: Final = "{repo} holds either what it held before or all that was sent. "
_UNREACHABLE: Final = "The Hub cannot be reached, or broke off ({what}). Check the network. " + _EITHER + _RESUME
_BROKEN: Final = "The Hub answered {status} ({what}). " + _EITHER + _RESUME
_SENTENCES: Final[dict[int, str]] = {
    401: "The Hub does not know who you are, or hides {repo} from you. Run hf auth login, or set HF_TOKEN to a token "
    "that may write.",
    403: "The Hub does not let you write to {repo}. Check the owner's name, and that your token may write.",
    404: "The Hub has no {kind} {repo}, or no such revision or collection ({what}). Check the names.",
    409: "The Hub says that this is there already ({what}). Choose another name, or run the same command again.",
    412: "Somebody else committed to {repo} in the meantime. Run the same command again to replace what they sent.",
    413: "A file is larger than the Hub takes ({what}). Save it in shards.",
}
