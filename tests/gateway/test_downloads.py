"""What an open download holds, and that it is given back however the download ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator, Iterator

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message, Scope

from gateway.artifacts import download as module
from gateway.artifacts.download import Download, DownloadResponse, open_download
from gateway.artifacts.places import DownloadPlaces, TooManyDownloads
from gateway.resources import Resources
from gateway.tenants import Tenant
from shared.errors import TransientFault
from shared.problems import ProblemCode
from shared.settings import Authentication, Settings
from shared.storage import ObjectStore, StoredObject

TENANT, OTHER = Tenant("ward-a"), Tenant("ward-b")
STORED = StoredObject("key", 3, "0" * 64)
SCOPE: Scope = {"type": "http", "asgi": {"spec_version": "2.3"}}


class Storage(ObjectStore):
    """Three pieces, the last of which comes when it may; says when the connection is given back."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.may_go_on = threading.Event()
        self.is_away = False
        self.closed = 0

    def iterate(self, stored: StoredObject) -> Generator[bytes, None, None]:
        try:
            if self.is_away:
                raise TransientFault(ProblemCode.STORAGE_UNAVAILABLE, "away")
            yield b"a"
            yield b"b"
            self.may_go_on.wait(10)
            yield b"c"
        finally:
            self.closed += 1


@pytest.fixture
def storage(settings: Settings) -> Storage:
    return Storage(settings)


@pytest.fixture
def resources(settings: Settings, storage: Storage) -> Iterator[Resources]:
    resources = Resources(settings)
    resources.store = storage
    resources.download_places = DownloadPlaces(1, patience_s=0)
    yield resources
    storage.may_go_on.set()
    resources.close()


async def receive_nothing() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


async def receive_leaving() -> Message:
    return {"type": "http.disconnect"}


async def take_nothing(message: Message) -> None:
    if message["type"] == "http.response.body":
        await asyncio.Event().wait()


async def wait_for_place(resources: Resources) -> None:
    """Take the only place, once it is free."""
    async with asyncio.timeout(5):
        while True:
            try:
                (await resources.download_places.take(OTHER)).close()
            except TooManyDownloads:
                await asyncio.sleep(0.01)
            else:
                return


class TestADownload:
    def test_that_is_read_to_its_end_is_whole(self, resources: Resources, storage: Storage) -> None:
        async def read() -> list[bytes]:
            storage.may_go_on.set()
            download = await open_download(resources, TENANT, STORED)
            pieces = [piece async for piece in download]
            download.close()
            await wait_for_place(resources)
            return pieces

        assert asyncio.run(read()) == [b"a", b"b", b"c"]
        assert storage.closed == 1

    def test_that_is_left_after_a_piece_is_closed_once_the_next_has_come(
        self, resources: Resources, storage: Storage
    ) -> None:
        async def leave() -> tuple[int, int]:
            download = await open_download(resources, TENANT, STORED)
            assert await anext(download) == b"a"
            download.close()  # while the last piece is being read
            await asyncio.sleep(0.05)
            meanwhile = storage.closed
            storage.may_go_on.set()
            await wait_for_place(resources)
            return meanwhile, storage.closed

        assert asyncio.run(leave()) == (0, 1)

    def test_that_was_never_read_is_closed(self, resources: Resources, storage: Storage) -> None:
        async def leave() -> None:
            (await open_download(resources, TENANT, STORED)).close()
            await wait_for_place(resources)

        asyncio.run(leave())
        assert storage.closed == 1

    def test_that_cannot_be_opened_takes_no_place(self, resources: Resources, storage: Storage) -> None:
        async def open_twice() -> None:
            storage.is_away = True
            with pytest.raises(TransientFault):
                await open_download(resources, TENANT, STORED)
            storage.is_away = False
            await wait_for_place(resources)
            (await open_download(resources, TENANT, STORED)).close()

        asyncio.run(open_twice())


class TestAnAnswer:
    def test_of_which_nothing_is_taken_is_broken_off(
        self, resources: Resources, storage: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "_SEND_LIMIT_S", 0.05)
        storage.may_go_on.set()

        async def answer() -> None:
            response = make_response(await open_download(resources, TENANT, STORED))
            with pytest.raises(ClientDisconnect):
                await response(SCOPE, receive_nothing, take_nothing)
            await wait_for_place(resources)

        asyncio.run(answer())
        assert storage.closed == 1

    def test_whose_caller_has_left_is_closed(self, resources: Resources, storage: Storage) -> None:
        storage.may_go_on.set()

        async def answer() -> None:
            await make_response(await open_download(resources, TENANT, STORED))(SCOPE, receive_leaving, take_nothing)
            await wait_for_place(resources)

        asyncio.run(answer())
        assert storage.closed == 1


def make_response(download: Download) -> DownloadResponse:
    return DownloadResponse(download, media_type="application/pdf", headers={})


class TestPlaces:
    def test_of_one_tenant_keep_no_other_out(self) -> None:
        async def fill() -> tuple[str, str]:
            places = DownloadPlaces(4, tenant_limit=2, patience_s=0.01)
            for tenant in (TENANT, TENANT, OTHER):
                await places.take(tenant)
            with pytest.raises(TooManyDownloads) as own:
                await places.take(TENANT)
            await places.take(OTHER)
            with pytest.raises(TooManyDownloads) as of_all:
                await places.take(Tenant("ward-c"))
            return str(own.value), str(of_all.value)

        assert asyncio.run(fill()) == ("2 downloads are open here already.", "4 downloads are open here already.")

    def test_are_waited_for(self) -> None:
        async def wait() -> None:
            places = DownloadPlaces(1, patience_s=5)
            held = await places.take(TENANT)
            asyncio.get_running_loop().call_later(0.05, held.close)
            (await places.take(TENANT)).close()

        asyncio.run(wait())

    @pytest.mark.parametrize(("authentication", "most"), [(Authentication.OFF, 64), (Authentication.REQUIRED, 32)])
    def test_are_halved_only_where_there_are_tenants(
        self, settings: Settings, authentication: Authentication, most: int
    ) -> None:
        async def count() -> int:
            resources = Resources(settings.model_copy(update={"authentication": authentication}))
            taken = 0
            try:
                async with asyncio.timeout(0.5):
                    while True:
                        await resources.download_places.take(TENANT)
                        taken += 1
            except TimeoutError:
                resources.close()
                return taken

        assert asyncio.run(count()) == most
