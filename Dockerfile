# JupyterLab on the chapters, for Docker and for Binder (which builds this file and gives the user's name and number):
#   docker build --tag richness . && docker run --rm --publish 8888:8888 richness
FROM python:3.11-slim
RUN apt-get update \
 && apt-get install --yes --no-install-recommends git make g++ \
 && rm -rf /var/lib/apt/lists/*
ARG NB_USER=reader
ARG NB_UID=1000
ENV USER=${NB_USER} HOME=/home/${NB_USER}
RUN useradd --create-home --uid ${NB_UID} ${NB_USER}
WORKDIR /home/${NB_USER}/book
COPY --chown=${NB_UID} . .
RUN chown ${NB_UID} .
USER ${NB_USER}
RUN make setup
ENV PATH=/home/${NB_USER}/book/.venv/bin:${PATH}
EXPOSE 8888
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--no-browser"]
