"""The pool: the workers of all models, each made when its model is first wanted."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Protocol

from app.config import Settings
from app.errors import ModelError, ModelLoadError, ShuttingDown
from app.inference import kv_files
from app.inference.answer_log import log_answer
from app.inference.device_monitor import DeviceMonitor, DeviceSource, list_devices
from app.inference.dispatcher import Runner, UsageEvent
from app.inference.gpu_loads import GpuLoad, GpuLoads
from app.inference.gpu_plans import LoadPlan, find_placement, load_plans, may_use_gpu
from app.inference.lifecycle import LoadAbandoned, ProgressCallback
from app.inference.memory_budget import LoadedModel, MemoryBudget, MemoryHolder, distribute
from app.inference.model_state import ModelState, WorkerStatus
from app.inference.process import RunnerOptions, RunnerProcess
from app.inference.protocol import Aborted, Delta, Failed, Finished, Prefill, SetLimits
from app.inference.queue import Request, RequestEvent
from app.inference.remote.servers import HealthMonitor
from app.inference.worker import STOPPING, Worker
from app.logs.request_ids import create_detached_task
from app.models import memory
from app.models.devices import gpus
from app.models.install.pulls import PullManager
from app.models.model import Model
from app.models.offload import layer_limit, own_bytes
from app.models.store import ModelStore
from app.temp_folders import scratch

log = logging.getLogger(__name__)
SAVE_SECONDS = 1.0
"""For all runners together, which write side by side: Wick is to stop within two seconds."""


class Admission(Protocol):
    """Judge of what one user may have; in earnest the quotas."""

    def admit(self, user_id: int) -> contextlib.AbstractContextManager[None]:
        """Count one more request until it is in a queue. Raises RequestError."""

    def record_usage(self, request: Request, event: Prefill | Delta | Finished) -> str | None:
        """Count what a request takes, while it runs and when it ended. A sentence ends it."""


class WorkerPool:
    """Requests by model name. All runners share one folder of thread permits and one budget of
    memory. `listeners` are called on every change of a worker's state.

    admission: asked before a request is accepted, and told what each one takes.
    memory: shared with `other_holders`, which are no models of this pool.
    remotes: the servers of models that are not here; to be watched by a task of its own. devices:
    the GPUs of this machine, listed when a model first may use one.
    """

    def __init__(
        self,
        settings: Settings,
        store: ModelStore,
        pulls: PullManager,
        admission: Admission,
        list_gpus: DeviceSource = list_devices,
    ) -> None:
        self.listeners: list[Callable[[], None]] = []
        self.observers: list[Callable[[str, Request, RequestEvent], None]] = [log_answer]
        """Called with the name of a model and what a request of it is told."""
        self._admission = admission
        self._is_closed = False
        self._settings = settings
        self._store = store
        self._pulls = pulls
        self._workers: dict[str, Worker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._loaded_models: dict[str, LoadedModel] = {}
        self._limits: dict[str, SetLimits] = {}
        self.other_holders: list[MemoryHolder] = []
        self.memory = MemoryBudget(memory.budget(settings), self._holders)
        self.devices = DeviceMonitor(list_gpus, self._on_devices)
        self._gpu = GpuLoads(settings, self.memory, self.devices)
        self._folder = contextlib.ExitStack()
        folder = self._folder.enter_context(scratch("wick-run-"))
        self._options = RunnerOptions.from_settings(settings, folder)
        self.remotes = HealthMonitor(store, self._notify)

    def worker(self, name: str) -> Worker:
        """Return the worker of a model, its task started. Raises ShuttingDown."""
        if name not in self._workers:
            self._check_open()
            self._workers[name] = Worker(
                name,
                functools.partial(self._load, name),
                queue_limit=self._settings.queue_limit,
                slots=self._settings.slots,
                keep_alive=self._settings.keep_alive,
                on_change=functools.partial(self._on_change, name),
                on_capacity=self.memory.notify,
                on_usage=self._record_usage,
                on_event=functools.partial(self._on_event, name),
                on_crash=functools.partial(self._gpu.on_crash, name),
            )
            self._start(name)
        return self._workers[name]

    def _on_event(self, name: str, request: Request, event: RequestEvent) -> None:
        for observer in self.observers:
            observer(name, request, event)

    def _record_usage(self, request: Request, event: UsageEvent) -> str | None:
        if isinstance(event, Failed | Aborted):
            return None
        return self._admission.record_usage(request, event)

    @contextlib.contextmanager
    def admit(self, name: str, user_id: int) -> Iterator[None]:
        """Accept one more request of this user's, to be made and queued in the block.

        Raises LimitReached, ShuttingDown or QueueFull. Once queued, it counts by itself; and one
        that is kept to be queued later, as an answer that waits in its chat, needs no room then.
        """
        with self._admission.admit(user_id):
            self._check_open()
            if name in self._workers:
                self._workers[name].ensure_queue_space(user_id)
            yield

    def submit(self, name: str, request: Request) -> None:
        """Admit and queue a request that belongs to no chat. Raises what `admit` raises.

        One in the background takes nobody's turn, so it needs no admission.
        """
        if request.is_background:
            self.worker(name).submit(request)
            return
        with self.admit(name, request.user_id):
            self.worker(name).submit(request)

    @property
    def is_busy(self) -> bool:
        """True while any request waits or runs, or a model is being loaded."""
        workers = self._workers.values()
        return any(w.requests or w.state == ModelState.LOADING for w in workers)

    @property
    def free_memory(self) -> int:
        """Bytes of the models' memory that none of them holds."""
        return self.memory.free

    @property
    def runner_options(self) -> RunnerOptions:
        """Options that all runners of this server share."""
        return self._options

    def requests(self, user_id: int) -> list[Request]:
        """List this user's requests that run or wait, without work in the background."""
        return [r for _, r in self._of(user_id) if not r.is_background]

    def cancel_all(self, user_id: int) -> None:
        """End everything of this person's, work in the background included."""
        for worker, request in self._of(user_id):
            worker.cancel(request.id)

    def _of(self, user_id: int) -> list[tuple[Worker, Request]]:
        workers = self._workers.values()
        return [(w, r) for w in workers for r in w.requests if r.user_id == user_id]

    def cancel(self, name: str, request_id: int) -> None:
        if name in self._workers:
            self._workers[name].cancel(request_id)

    def load(self, name: str) -> None:
        """Begin to load a model that nobody has asked anything; again is harmless.

        Raises ModelNotFound, ModelFileError, ModelTooLarge or ShuttingDown at once. What fails
        later is in the status.
        """
        if not any(pull.name == name and pull.is_running for pull in self._pulls.all()):
            model = self._store.get(name)
            if not may_use_gpu(model, self._settings):  # else that is seen with the devices
                memory.check_fits(model, self._settings, self.memory.budget)
        self.worker(name).load()

    async def try_gpu_again(self, name: str) -> None:
        """Let the next load of a model give the GPU all that fits, whatever failed there before."""
        await self._gpu.retry(await asyncio.to_thread(self._store.get, name))

    def held_on(self, device: str) -> int:
        """Bytes that loaded models hold on a device."""
        return self.memory.held(device)

    @property
    def gpu_names(self) -> str:
        """Names of the GPUs that models may use, as far as they are known."""
        if self._settings.gpu_layers == 0:
            return ""
        return ", ".join(device.title for device in gpus(self.devices.devices))

    @property
    def gpu_bytes(self) -> int:
        """Bytes that models may take on GPUs beside main memory, as far as these are known."""
        return 0 if self._settings.gpu_layers == 0 else own_bytes(self.devices.devices)

    def best_plan(self, model: Model) -> LoadPlan | None:
        """Plan a load of a model as if no other were loaded; None while no GPU is known for it."""
        if not may_use_gpu(model, self._settings) or not gpus(self.devices.devices):
            return None
        limit = layer_limit(model, self._settings)
        held = self.memory.held
        plans = load_plans(model, self._settings, self.devices.devices, held, limit)
        return next((plan for plan in plans if self.memory.can_ever_fit(plan.need)), None)

    async def measure_options(self, model: Model, context: int) -> RunnerOptions:
        """Options for a runner that measures a model, with the layers that a load would have."""
        gpu = await find_placement(model, self._settings, self.devices, context=context, slots=1)
        return replace(self._options, gpu=gpu)

    def set_keep_alive(self, name: str, seconds: float) -> None:
        """Set after how many idle seconds a load is unloaded; infinite: never."""
        self.worker(name).set_keep_alive(seconds)

    async def unload(self, name: str) -> None:
        """Return when the model's memory is free and its chats' KV states are on the disk.

        Raises ModelBusy while it answers or somebody waits for it.
        """
        if name in self._workers:
            await self._workers[name].unload()

    def settings_changed(self, name: str) -> None:
        """Unload a model soon, since its settings apply from the next load on."""
        if name in self._workers:
            self._workers[name].reload_when_idle()

    async def delete_model(self, name: str) -> None:
        """Unload a model and drop all that is kept of it. To be called before
        ModelStore.remove.

        Raises ModelBusy, and then has changed nothing.
        """
        await self.unload(name)
        if name in self._workers:
            worker, task = self._workers.pop(name), self._tasks.pop(name)
            await worker.close(f"The model {name} is being removed.")
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        with contextlib.suppress(ModelError):  # it is gone, or damaged: nobody knows its key
            model = await asyncio.to_thread(self._store.get, name)
            if model.remote is None:
                key = kv_files.model_key(model.digest, model.size)
                await asyncio.to_thread(kv_files.delete_model, self._settings.kv_folder, key)
        self._notify()

    async def delete_chat(self, chat: str) -> None:
        """Delete every KV state of a chat that is gone for good, in memory and on the disk."""
        for worker in self._workers.values():
            worker.delete_chat(chat)
        await asyncio.to_thread(kv_files.delete, self._settings.kv_folder, chat)
        # A runner that is just ending writes what it holds, and hears of nothing any more.
        if leaving := [w for w in self._workers.values() if w.state is ModelState.UNLOADING]:
            await asyncio.gather(*(worker.wait_unloaded() for worker in leaving))
            await asyncio.to_thread(kv_files.delete, self._settings.kv_folder, chat)

    def delete_user(self, user_id: int) -> None:
        """Drop what memory holds of somebody's requests that belonged to no chat."""
        for worker in self._workers.values():
            worker.delete_chat(owner=str(user_id))

    async def purge(self, chats: Iterable[str]) -> None:
        """Delete KV states on the disk that no chat of these, or no model, could use any more: left
        by a crash, by a model that was removed meanwhile, or from before none were to be kept."""
        here = (await asyncio.to_thread(self._store.scan))[0]
        models = {kv_files.model_key(m.digest, m.size) for m in here if m.remote is None}
        if not self._settings.kv_disk_mb:
            models.clear()
        elif not here:  # perhaps the store's disk is not there today
            return
        folder = self._settings.kv_folder
        if count := await asyncio.to_thread(kv_files.purge, folder, models, list(chats)):
            log.info("%d KV states of chats were of no more use and are deleted.", count)

    def status(self, name: str) -> WorkerStatus | None:
        """None for a model that was never wanted."""
        worker = self._workers.get(name)
        if worker is None:
            return None
        limits = self._limits.get(name)
        return replace(
            worker.status(),
            memory=self.memory.reserved_bytes(name),
            spare=0 if limits is None else self._loaded_models[name].size(limits),
            gpu=self._gpu.status(name),
        )

    def statuses(self) -> list[WorkerStatus]:
        """List the status of every worker that was ever wanted, by name."""
        return [status for name in sorted(self._workers) if (status := self.status(name))]

    def interrupt(self, message: str) -> None:
        """End every request with `message`, and take no more."""
        self._is_closed = True
        for worker in self._workers.values():
            worker.interrupt(message)

    async def close(self, message: str) -> None:
        """Interrupt every request with `message`; afterwards no runner is alive.

        Before they end, the runners write what they hold to the disk, within SAVE_SECONDS.
        """
        self.interrupt(message)
        await asyncio.gather(*(w.close(message, SAVE_SECONDS) for w in self._workers.values()))
        await self.devices.close()
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._folder.close()

    def _start(self, name: str) -> None:
        task = create_detached_task(self._workers[name].run(), name=f"worker {name}")
        self._tasks[name] = task
        task.add_done_callback(functools.partial(self._restart, name))

    def _restart(self, name: str, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and name in self._workers:
            log.error("The worker of %s died and is restarted.", name, exc_info=task.exception())
            self._start(name)

    def _on_change(self, name: str) -> None:
        worker = self._workers.get(name)
        if worker is None or not worker.state.is_loaded:
            self._loaded_models.pop(name, None)
            self._gpu.unloaded(name)
            self.memory.release(name)
        self._rebalance_memory()
        self._notify()

    def _holders(self) -> list[MemoryHolder]:
        return [*self._workers.values(), *self.other_holders]

    def _check_open(self) -> None:
        if self._is_closed:
            raise ShuttingDown(STOPPING)

    def _rebalance_memory(self) -> None:
        """Share out what the budget leaves, which keeps chats at hand; no slot depends on it."""
        before = self._limits
        self._limits = distribute(self.memory.free, self._loaded_models, self._settings)
        for name, limits in self._limits.items():
            if limits != before.get(name):
                self._workers[name].set_limits(limits)

    def _on_devices(self) -> None:
        self._gpu.devices_changed()
        self._notify()

    def _notify(self) -> None:
        for listener in self.listeners:
            listener()

    async def _load(self, name: str, notify: ProgressCallback) -> Runner:
        await self._pulls.wait_for(name, notify)
        notify("Loading the model")
        model = await asyncio.to_thread(self._store.get, name)
        if model.remote is not None:
            return self._remote(model)
        runner = await self._start_local(model, notify)
        log.info(
            "%s is loaded after %.2f s: %d answers at once, %d tokens of context each.",
            name,
            runner.loaded.seconds,
            runner.loaded.slots,
            runner.loaded.context_length,
        )
        return runner

    async def _start_local(self, model: Model, notify: ProgressCallback) -> RunnerProcess:
        """Start a runner; one that a GPU fails is tried with fewer layers there, then with none."""
        load = await self._gpu.begin(model)
        while True:
            plan = await self._reserve_memory(load, notify)
            try:
                runner = await self._start_runner(model, plan, notify)
            except ModelLoadError as error:
                load.step_down(plan, error)
                self._loaded_models.pop(model.name, None)
                self.memory.release(model.name)
            else:
                await self._gpu.finish(load, plan, runner)
                return runner

    async def _start_runner(
        self, model: Model, plan: LoadPlan, notify: ProgressCallback
    ) -> RunnerProcess:
        notify("Loading the model")

        def progress(done: float) -> None:
            notify(f"Loading the model, {done:.0%}".replace("%", " %"), done)

        loaded, limits = self._loaded_models[model.name], self._limits[model.name]
        options = replace(
            self._options,
            context=memory.context_length(model, self._settings),
            slots=loaded.slots,
            kv_memory_mb=(limits.contexts * loaded.context >> 20) + 1,
            kv_ram_mb=limits.ram_mb,
            gpu=plan.offload.placement,
        )
        return await RunnerProcess.start(model, options, progress)

    def _remote(self, model: Model) -> Runner:
        # Here and not above: a client for HTTP, which most machines never need.
        from app.inference.remote.errors import Timeouts
        from app.inference.remote.runner import RemoteRunner

        return RemoteRunner(self.remotes.servers(model), Timeouts.from_settings(self._settings))

    async def _reserve_memory(self, load: GpuLoad, notify: ProgressCallback) -> LoadPlan:
        """Wait for memory. Fewer slots, or layers on devices, where there is not enough for all."""
        model, plans = load.model, load.plans()
        needs, worker = [plan.need for plan in plans], self._workers[load.model.name]
        choice = await self.memory.reserve(model.name, needs, notify, lambda: worker.is_needed)
        if choice is None:
            raise LoadAbandoned
        context = memory.context_length(model, self._settings)
        loaded = LoadedModel(context * model.kv_bytes(self._settings.kv_type), plans[choice].slots)
        self._loaded_models[model.name] = loaded
        self._rebalance_memory()  # the others give back what they can spare
        return plans[choice]
