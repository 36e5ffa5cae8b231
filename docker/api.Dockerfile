# The page and the API: no PyTorch in it. Build from the root: docker build -f docker/api.Dockerfile .

FROM node:22-slim AS page
WORKDIR /page/frontend
COPY frontend/package.json frontend/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY openapi.json /page/
COPY frontend/ ./
RUN npm run build

FROM python:3.11-slim
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY contracts/ contracts/
COPY prompts/ prompts/
COPY store/ store/
COPY backend/ backend/
COPY worker/ worker/
COPY engine/ engine/
COPY arithmoscope/ arithmoscope/
COPY examples/ examples/
COPY --from=page /page/frontend/dist/ frontend/dist/
# Installed in place: the page and the example are found beside the packages.
RUN pip install -c constraints.txt -e '.[distributed]' \
    && useradd --uid 10001 --create-home arithmoscope \
    && install -d -o arithmoscope -g arithmoscope -m 700 /data
USER arithmoscope
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["python", "-c", \
    "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/api/ready', timeout=2)"]
CMD ["arithmoscope", "api"]
